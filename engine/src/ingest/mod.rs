//! What comes in: decode, validate, complete (service name, level), and hand over to storage.

pub mod level;
