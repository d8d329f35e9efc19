//! What this machine can run: tried, and not guessed from versions.
//!
//! | for | see |
//! |---|---|
//! | worlds, oracles and rivals, each tried | [`engines`] |
//! | kernel, capabilities, parameters, tools | [`machine`] |

pub mod engines;
pub mod machine;
