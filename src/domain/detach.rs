//! When a target partition has to leave the shared read.
