//! Which packets are shown.

pub mod expression;
