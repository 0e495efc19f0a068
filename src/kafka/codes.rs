//! The brokers' error codes, for those who read them off the wire themselves.

use super::fault_map::{class_of_number, code_of_number};
use crate::domain::fault::FaultClass;

/// What a code asks for.
pub fn class(code: i16) -> FaultClass {
    class_of_number(code)
}

/// What a code says, for people.
pub fn text(code: i16) -> String {
    code_of_number(code).map_or_else(|| format!("error {code}"), |known| known.to_string())
}
