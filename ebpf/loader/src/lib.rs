//! Loads, attaches and drives the twinpath programs in the kernel.
