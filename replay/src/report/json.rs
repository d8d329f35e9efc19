//! JSON lines for programs: an object per packet, the summary last. The schema is in `schema/`.

use std::io::{self, Write};

use super::{Context, Report, Run, Seen};

/// JSON lines.
pub struct Json {
    output: Box<dyn Write>,
}

impl Json {
    /// Lines on `output`.
    pub fn new(output: Box<dyn Write>) -> Self {
        Self { output }
    }
}

impl Report for Json {
    fn packet(&mut self, _context: &Context<'_>, _seen: &Seen<'_>) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, _context: &Context<'_>, _run: &Run<'_>) -> io::Result<()> {
        self.output.flush()
    }
}
