//! Logs: on standard error, as text for people or JSON for programs.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged where nobody asked for something else. The HTTP server tells how it starts, and of each request that is none as an
/// error: neither is the engine's trouble, and anybody could fill the log with the latter.
const USUAL: &str = "info,actix_server=warn,actix_http=off";

/// Checks a filter such as `debug` or `info,anabranch::engine=trace`, without keeping it.
pub fn check_filter(filter: &str) -> Result<String, String> {
    EnvFilter::builder()
        .parse(filter)
        .map(|_| filter.to_owned())
        .map_err(|error| format!("{error}; write a level such as debug, or module=level pairs with commas between"))
}

/// Starts logging for the whole process. Does nothing where a subscriber is set already, as in tests.
pub fn start(format: Format, filter: Option<&str>) {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(filter.unwrap_or(USUAL));
    let builder = fmt().with_env_filter(filter).with_writer(stderr);
    // an error says that another subscriber was first, and that one is as good
    let _ = match format {
        Format::Text => builder.with_ansi(colour()).finish().try_init(),
        // a `target` is a cluster here, not a module: the field is left to the events
        Format::Json => builder.json().flatten_event(true).with_target(false).finish().try_init(),
    };
}

/// Colour is for terminals alone, and not where the user asked for none (no-color.org).
fn colour() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for filter in ["", USUAL, "debug", "info,anabranch::engine=trace"] {
            assert!(check_filter(filter).is_ok(), "{filter}");
        }
        assert!(check_filter("anabranch=loud").is_err());
    }
}
