//! Which packets are shown.
//!
//! All packets are replayed, whatever is shown of them: the state of the datapath hangs on each.
//! [`expression`] is about the packet as captured, [`conditions`] about what became of it as well.

pub mod conditions;
pub mod expression;
pub mod positional;

use crate::report::{Context, Seen};
use conditions::Conditions;
use expression::Expression;

/// What a packet must be to be shown.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// As captured.
    pub expression: Option<Expression>,
    /// As it was sent, as it arrived, and what became of it.
    pub conditions: Conditions,
}

impl Filter {
    /// Whether every packet is shown.
    pub const fn is_empty(&self) -> bool {
        self.expression.is_none() && self.conditions.is_empty()
    }

    /// Whether a packet as captured can be one of them.
    #[inline]
    pub fn takes(&self, data: &[u8], length: u32) -> bool {
        self.expression.as_ref().is_none_or(|expression| expression.matches(data, length))
    }

    /// Whether a packet that it [takes](Self::takes) is shown.
    pub fn shows(&self, context: &Context<'_>, seen: &Seen<'_>) -> bool {
        self.conditions.is_empty() || self.conditions.hold(context, seen)
    }
}
