//! `anabranch completions`: lets a shell complete the commands and their arguments.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, Outcome, print};

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes the completion script to standard output.
pub fn run(args: &Args) -> Outcome {
    // into memory first: the generator panics when the reader of standard output goes away
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "anabranch", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
