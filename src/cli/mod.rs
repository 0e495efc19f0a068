//! The command line: one file per command, and the exit codes that scripts rely on.

pub mod check;
pub mod completions;
pub mod copy;
pub mod demo;
pub mod events;
pub mod host;
pub mod order;
pub mod plan_cmd;
pub mod reach;
pub mod reload;
pub mod reloading;
pub mod run;
pub mod status;
pub mod verify;
mod watchdog;

use std::ffi::OsString;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::ConfigError;
use crate::telemetry::logging;

/// Reads topics of one Kafka cluster once and writes them to many.
#[derive(Debug, Parser)]
#[command(name = "anabranch", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// The form of the logs, which go to standard error.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Logs")]
    pub log_format: logging::Format,
    /// What is logged: a level, or `module=level` pairs [default: info].
    #[arg(long, global = true, env = "RUST_LOG", value_parser = logging::check_filter, value_name = "FILTER", help_heading = "Logs")]
    pub log_level: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the engine at work on in-process clusters: nothing to install, nothing to configure.
    Demo(demo::Args),
    /// Runs the engine.
    Run(run::Args),
    /// Checks a config without asking any cluster.
    Check(check::Args),
    /// Asks the clusters what would be copied, created and skipped, and why; changes nothing.
    Plan(plan_cmd::Args),
    /// Copies topics up to their end, without a config file.
    Copy(copy::Args),
    /// Compares what a route's targets have with its source, record by record.
    Verify(verify::Args),
    /// Shows how the routes of a running engine are.
    Status(status::Args),
    /// Switches a route of a running engine on or off.
    Route(order::RouteArgs),
    /// Pauses a target of a running engine, or resumes it.
    Target(order::TargetArgs),
    /// Has a running engine read its config again.
    Reload(reload::Args),
    /// Changes the bandwidth of a target while the engine runs.
    Throttle(order::ThrottleArgs),
    /// Shows what happened in a running engine.
    Events(events::Args),
    /// Writes a shell's completions to standard output.
    Completions(completions::Args),
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The exit codes. Scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed at run time.
    Failed = 1,
    /// The arguments or the config are wrong.
    Usage = 2,
    /// `verify` found a difference.
    Different = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early: a text for standard error, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened and what to do next. Never a secret.
    pub message: String,
}

impl Failure {
    /// A failure at run time.
    pub fn at_run_time(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// Arguments that are wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

/// What a command ends with.
pub type Outcome = Result<Exit, Failure>;

/// Runs the command that the arguments name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // help and version come this way too; a closed pipe is no reason to complain
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    logging::start(cli.log_format, cli.log_level.as_deref().or_else(|| quiet(&cli.command)));
    dispatch(cli.command).unwrap_or_else(|failure| {
        let _ = writeln!(std::io::stderr(), "anabranch: {failure}");
        failure.exit
    })
}

/// What a log may say where nobody asked for more: it must not tear a live table or a bar apart.
fn quiet(command: &Command) -> Option<&'static str> {
    match command {
        Command::Demo(_) => Some("error"),
        Command::Copy(_) | Command::Verify(_) if std::io::stderr().is_terminal() => Some("warn"),
        _ => None,
    }
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan_cmd::run(&args),
        Command::Copy(args) => copy::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Route(args) => order::route(&args),
        Command::Target(args) => order::target(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Throttle(args) => order::throttle(&args),
        Command::Events(args) => events::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Writes a command's result to standard output. A reader that went away, such as `head`, is not a failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_on(text).map(drop)
}

/// The same for what is written again and again: whether somebody still reads it.
pub(crate) fn print_on(text: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::at_run_time(format!("cannot write to standard output: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn copy_reads_its_arguments() {
        let copy = |args: &[&str]| {
            let line = ["anabranch", "copy"].iter().chain(args).map(OsString::from);
            match Cli::try_parse_from(line).map(|cli| cli.command) {
                Ok(Command::Copy(args)) => Ok(args),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        let args = copy(&["--from", "a:1,b:2", "--to", "c:3", "--to", "d:4", "--topics", "x.*"]).unwrap();
        assert_eq!(args.from.0, ["a:1", "b:2"]);
        assert_eq!(args.to.iter().map(|to| to.0.join(",")).collect::<Vec<_>>(), ["c:3", "d:4"]);
        assert!(args.topics.is_match("xy") && !args.topics.is_match("yx") && !args.follow);
        for (bad, hint) in [
            (&["--from", "a", "--to", "c:3", "--topics", "x"][..], "add the port"),
            (&["--from", "a:1", "--to", "c:3", "--topics", "*"], "write `.*`"),
            (&["--from", "a:1", "--to", "c:3", "--topics", "x", "--start", "noon"], "earliest, latest, or a time"),
            (&["--from", "a:1", "--to", "c:3", "--topics", "x", "--to-topic", "a b"], "letters, digits"),
        ] {
            let error = copy(bad).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }
}
