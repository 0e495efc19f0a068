//! No answer of a broker may make the connections of `src/wire` panic, or reserve memory for what it only says that it has.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| anabranch::wire::fuzzing::answer(data));
