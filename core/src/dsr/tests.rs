//! The encodings, byte by byte.
