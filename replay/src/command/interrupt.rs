//! Ctrl-C: the first one ends the work with what was done until then, the second one the process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use twinpath_sim::world::WorldError;

/// What is set by the first signal.
pub fn on_signals(verb: &str) -> Result<Arc<AtomicBool>, WorldError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| WorldError::Environment(format!("{verb}: signals: {error}")))?;
    }
    Ok(stop)
}
