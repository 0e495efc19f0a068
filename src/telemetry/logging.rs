//! Logs: on standard error, as text for people or JSON for programs, and pushed to others once that is asked for.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

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
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(without_sdk(filter.unwrap_or(USUAL)));
    let all = registry().with(filter).with(Pushed);
    let lines = fmt::layer().with_writer(stderr);
    // an error says that another subscriber was first, and that one is as good
    let _ = match format {
        Format::Text => all.with(lines.with_ansi(colour())).try_init(),
        // a `target` is a cluster here, not a module: the field is left to the events
        Format::Json => all.with(lines.json().flatten_event(true).with_target(false)).try_init(),
    };
}

/// A filter, with the SDK's own words left out unless it asks for them: they are about its inside, and come with each request that fails.
/// What there is to know of those is told elsewhere, once.
fn without_sdk(filter: &str) -> String {
    if filter.contains("opentelemetry") { filter.to_owned() } else { format!("{filter},opentelemetry=off") }
}

/// Where log records are pushed to, if anywhere. The log begins before it is known.
static PUSHED_TO: OnceLock<OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>> = OnceLock::new();

/// Has all that is logged from now on pushed as well. Only the first call in a process counts.
pub(super) fn push_to(provider: &SdkLoggerProvider) {
    // another one was first, and goes on
    let _ = PUSHED_TO.set(OpenTelemetryTracingBridge::new(provider));
}

/// What pushing itself is made of: what these say is not pushed, or each push would bring the next one.
const PUSHERS: &[&str] = &["h2", "hyper", "hyper_util", "rustls", "tonic", "tower", "ureq"];

/// Whether what a module says may be pushed.
fn may_be_pushed(module: &str) -> bool {
    let library = module.split("::").next().unwrap_or_default();
    !PUSHERS.contains(&library) && !library.starts_with("opentelemetry")
}

/// The layer that hands events on to where they are pushed.
struct Pushed;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Pushed {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(bridge) = PUSHED_TO.get()
            && may_be_pushed(event.metadata().target())
        {
            bridge.on_event(event, context);
        }
    }
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

    #[test]
    fn the_sdk_is_silent_unless_somebody_wants_to_hear_it() {
        assert_eq!(without_sdk("debug"), "debug,opentelemetry=off");
        assert_eq!(without_sdk("info,opentelemetry_sdk=debug"), "info,opentelemetry_sdk=debug");
        assert!(check_filter(&without_sdk("")).is_ok());
    }

    #[test]
    fn what_pushing_says_is_not_pushed() {
        for module in ["h2::codec::framed_read", "tonic", "opentelemetry_sdk::trace", "rustls::client::hs"] {
            assert!(!may_be_pushed(module), "{module}");
        }
        for module in ["anabranch::engine::route", "log", "librdkafka", "h2o::pump"] {
            assert!(may_be_pushed(module), "{module}");
        }
    }
}
