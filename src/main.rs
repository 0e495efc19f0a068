//! The `anabranch` command: arguments → config → plan → engine → exit code. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    anabranch::cli::main(std::env::args_os()).into()
}
