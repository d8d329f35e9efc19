//! Filter expressions as tcpdump, Wireshark's capture filters and pwru take them: pcap-filter(7).
//!
//! An expression is read once and then asked about frames from the Ethernet header on. It decides as a
//! program of the Berkeley Packet Filter would: what lies behind the captured bytes cannot be read, and a
//! packet of which a needed byte is missing does not match at all, not even a negated test; ports are
//! found in first fragments only, and behind an IPv6 header without extension headers; the keyword `vlan`
//! moves all tests behind it by one tag. Comparisons and arithmetic are of 32 bits without sign.
//!
//! Left out: names of hosts and networks (nothing is looked up), `gateway`, `ip broadcast`, `protochain`,
//! `mpls`, `pppoes`, `geneve`, and what asks for an interface or for a kind of link other than Ethernet.
//!
//! ```
//! use twinpath::filter::expression::Expression;
//!
//! let expression: Expression = "tcp dst port 80 or 443 and not ip6".parse()?;
//! assert_eq!(expression.to_string(),
//!     "tcp dst portrange 80-80 or tcp dst portrange 443-443 and not ether proto 34525");
//! assert!(!expression.matches(&[0; 14], 14));
//! # Ok::<(), twinpath::filter::expression::SyntaxError>(())
//! ```

mod eval;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;
mod tree;
mod words;

pub use tree::{Arithmetic, Direction, Expression, Family, Join, Operator, Over, Relation, Test};

use thiserror::Error;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("position {at}: {problem}")]
pub struct SyntaxError {
    /// Where, in characters from 1.
    pub at: usize,
    /// What was expected there, or what is wrong.
    pub problem: String,
}

impl std::str::FromStr for Expression {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parser::parse(text)
    }
}
