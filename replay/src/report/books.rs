//! Sums over the packets that are shown: by flow, and by service.

use std::io;

use super::flows::Flows;
use super::services::Services;
use super::{Context, Seen};

/// Those that were asked for.
#[derive(Debug, Default)]
pub struct Books {
    /// By flow.
    pub flows: Option<Flows>,
    /// By service.
    pub services: Option<Services>,
}

impl Books {
    /// Whether none was.
    pub const fn is_empty(&self) -> bool {
        self.flows.is_none() && self.services.is_none()
    }

    /// Adds a packet.
    pub fn count(&mut self, context: &Context<'_>, seen: &Seen<'_>) {
        if let Some(flows) = &mut self.flows {
            flows.count(context, seen);
        }
        if let Some(services) = &mut self.services {
            services.count(context, seen);
        }
    }

    /// As tables.
    pub(super) fn tables(
        &self,
        context: &Context<'_>,
        output: &mut dyn io::Write,
        heads: bool,
    ) -> io::Result<()> {
        if let Some(flows) = &self.flows {
            flows.table(context, output, heads)?;
            writeln!(output)?;
        }
        if let Some(services) = &self.services {
            services.table(context, output, heads)?;
            writeln!(output)?;
        }
        Ok(())
    }

    /// As JSON lines.
    pub(super) fn lines(
        &self,
        context: &Context<'_>,
        output: &mut dyn io::Write,
    ) -> io::Result<()> {
        if let Some(flows) = &self.flows {
            flows.lines(context, output)?;
        }
        if let Some(services) = &self.services {
            services.lines(context, output)?;
        }
        Ok(())
    }
}
