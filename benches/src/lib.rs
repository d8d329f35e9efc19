//! Benches of twinpath.
