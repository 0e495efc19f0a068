//! `anabranch reload`: a running engine reads its config again.

use super::reach::Reach;
use super::{Exit, Outcome, print};

/// The arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is.
    #[command(flatten)]
    pub reach: Reach,
}

/// Prints what has changed, a line for each key. What is wrong with the config is an error, and changes nothing.
pub fn run(args: &Args) -> Outcome {
    let changes = args.reach.client()?.reload()?;
    if changes.is_empty() {
        print("nothing has changed\n")?;
    }
    for change in changes {
        print(&format!("{change}\n"))?;
    }
    Ok(Exit::Done)
}
