//! Texts with a meaning: sizes, rates, durations, times, addresses, patterns. Pure, and shared with the command line.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use regex::Regex;

use super::mistake::{Refusal, quoted};
use crate::domain::routing::TopicTemplate;
use crate::domain::start::Start;
use crate::plan::whole_name;

const TIMESTAMP_HINT: &str = "write it in UTC, such as 2026-11-01T00:00:00Z";

/// Parses a size such as `512KiB`.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| {
        let hint = "write a number and a unit, such as 512KiB or 64MiB";
        Refusal::new(format!("{} is not a size", quoted(text)), hint)
    })
}

/// Writes a size so that [`size`] reads it back.
pub(super) fn show_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = bytes;
    let mut unit = 0;
    while number != 0 && number.is_multiple_of(1024) && unit + 1 < units.len() {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", units[unit])
}

/// What has to be done about a number or a size that stands for a rate.
pub(super) const RATE_HINT: &str = "add the unit and `/s`, such as 20MiB/s";
/// What is beyond these is rather a slip than a wish.
const RATES: RangeInclusive<u64> = 1 << 10..=1 << 40;

/// Parses a rate such as `20MiB/s` into bytes per second.
pub(super) fn rate(text: &str) -> Result<u64, Refusal> {
    let Some(amount) = text.strip_suffix("/s") else {
        let shown = quoted(text);
        let is_size = size(text).is_ok();
        return Err(if is_size {
            Refusal::new(format!("{shown} is a size, not a rate"), RATE_HINT)
        } else {
            Refusal::new(format!("{shown} is not a rate"), "write a number, a unit and `/s`, such as 20MiB/s")
        });
    };
    let [low, high] = [*RATES.start(), *RATES.end()].map(show_size);
    let hint = format!("write a rate from {low}/s to {high}/s, such as 20MiB/s");
    match size(amount) {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        Ok(_) => Err(Refusal::new(format!("{} is out of range", quoted(text)), hint)),
        Err(_) => Err(Refusal::new(format!("{} is not a rate", quoted(text)), hint)),
    }
}

/// Parses a percentage such as `80%`; `None` where there is no `%`.
pub(super) fn percentage(text: &str) -> Option<Result<u64, Refusal>> {
    let number = text.strip_suffix('%')?;
    Some(number.parse().ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| {
        let hint = "write a whole number from 1% to 100%, or a rate such as 20MiB/s";
        Refusal::new(format!("{} is not a percentage of a budget", quoted(text)), hint)
    }))
}

/// Parses a duration such as `20ms`.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    humantime::parse_duration(text).map_err(|_| {
        let hint = "write a number and a unit, such as 20ms, 60s or 7d";
        Refusal::new(format!("{} is not a duration", quoted(text)), hint)
    })
}

/// Parses a moment into milliseconds since 1970.
pub(super) fn timestamp(text: &str) -> Result<i64, Refusal> {
    let refused = || Refusal::new(format!("{} is not an RFC 3339 time", quoted(text)), TIMESTAMP_HINT);
    let time = humantime::parse_rfc3339(text).map_err(|_| refused())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| refused())?;
    i64::try_from(since.as_millis()).map_err(|_| refused())
}

/// Parses a topic's name with a placeholder.
pub(super) fn template(text: &str, hint: &str) -> Result<TopicTemplate, Refusal> {
    TopicTemplate::parse(text).map_err(|error| Refusal::new(error.to_string(), hint))
}

/// Parses one `host:port`.
pub(super) fn address(text: &str) -> Result<String, Refusal> {
    let refused = |hint: &str| Err(Refusal::new(format!("{} is not host:port", quoted(text)), hint));
    if text.contains("://") {
        return refused("leave the part up to `://` out; encryption is set by `security.protocol`");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return refused("add the port, such as 10.0.0.1:9092");
    };
    if !matches!(port.parse::<u16>(), Ok(1..)) {
        return refused("give a port from 1 to 65535, such as 10.0.0.1:9092");
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if !fits {
        return refused("write a host name or an address and its port, such as 10.0.0.1:9092 or [::1]:9092");
    }
    Ok(text.to_owned())
}

/// Compiles a whole-name pattern.
pub(super) fn pattern(text: &str) -> Result<Regex, Refusal> {
    whole_name(text).map_err(|error| {
        let shown = error.to_string();
        // a syntax error draws the pattern over several lines and says what is wrong in its last one
        let last = shown.lines().last().unwrap_or_default();
        let cause = last.strip_prefix("error: ").unwrap_or(last);
        let hint = if text.starts_with('*') || cause.contains("repetition operator missing") {
            "it is a regular expression for the whole name: write `.*` for any characters"
        } else {
            "it is a regular expression for the whole name, such as `orders\\..*`"
        };
        Refusal::new(format!("{} is not a regular expression: {cause}", quoted(text)), hint)
    })
}

/// Parses `earliest`, `latest` or a time: the forms of `start` that are one word.
pub(super) fn start(text: &str) -> Result<Start, Refusal> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => timestamp(text).map(Start::Timestamp).map_err(|_| {
            Refusal::new(
                format!("{} is not a start", quoted(text)),
                "write earliest, latest, or a time in UTC such as 2026-11-01T00:00:00Z",
            )
        }),
    }
}

/// The addresses in one text, separated by commas as Kafka's own tools do.
pub(super) fn addresses(text: &str) -> Result<Vec<String>, Refusal> {
    text.split(',').map(|one| address(one.trim())).collect()
}

/// Joins what is wrong and what to do, for the command line.
pub(super) fn one_line(refusal: &Refusal) -> String {
    let mut line = refusal.problem.clone();
    // writing into a String cannot fail
    let _ = write!(line, "; {}", refusal.hint);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("512KiB", 512 << 10), ("64MiB", 64 << 20), ("1 MB", 1_000_000), ("1.5KiB", 1536), ("7", 7)]
        {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "-1MiB", "MiB", "1..5MiB", "20MiB/s", "many", "1e9", "0x10"] {
            assert!(size(text).is_err(), "{text}");
        }
        for bytes in [0, 1, 1024, 1536, 1 << 20, 3 << 30, 5 << 40, (1 << 50) + 1] {
            assert_eq!(size(&show_size(bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn rates_have_units_and_are_per_second() {
        for (text, bytes) in [("20MiB/s", 20 << 20), ("1KiB/s", 1 << 10), ("1TiB/s", 1 << 40), ("1.5 MB/s", 1_500_000)]
        {
            assert_eq!(rate(text).unwrap(), bytes, "{text}");
        }
        for text in ["20MiB", "20", "1024"] {
            assert!(rate(text).unwrap_err().hint.contains("add the unit and `/s`"), "{text}");
        }
        for text in ["", "/s", "-1MiB/s", "20MiB/m", "fast", "20MiB/s/s", "unlimited", "80%"] {
            assert!(rate(text).unwrap_err().problem.contains("is not a rate"), "{text}");
        }
        for text in ["0/s", "1023/s", "1.1TiB/s"] {
            assert!(rate(text).unwrap_err().problem.contains("is out of range"), "{text}");
        }
    }

    #[test]
    fn percentages_are_whole_and_of_something() {
        assert_eq!(percentage("1%").unwrap().unwrap(), 1);
        assert_eq!(percentage("100%").unwrap().unwrap(), 100);
        assert!(percentage("80").is_none());
        for text in ["0%", "101%", "-5%", "12.5%", "%", "80%%", "1 %"] {
            assert!(percentage(text).unwrap().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("20ms").unwrap(), Duration::from_millis(20));
        assert_eq!(duration("7d").unwrap(), Duration::from_secs(7 * 86_400));
        for text in ["", "20", "-1s", "1 parsec"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(timestamp("1970-01-01T00:00:01.500Z").unwrap(), 1500);
        for text in ["2026-11-01", "2026-11-01T00:00:00", "2026-11-01T00:00:00+08:00", "1969-12-31T23:59:59Z", "now"] {
            assert!(timestamp(text).is_err(), "{text}");
        }
        assert_eq!(start("latest").unwrap(), Start::Latest);
        assert!(start("Latest").is_err());
    }

    #[test]
    fn addresses_are_host_and_port() {
        for text in ["10.0.0.1:9092", "kafka-1.eu.example.com:65535", "[::1]:9092", "broker_1:1"] {
            assert_eq!(address(text).unwrap(), text);
        }
        for text in [
            "kafka",
            "kafka:",
            ":9092",
            "kafka:0",
            "kafka:65536",
            "::1:9092",
            "[::1]",
            "a b:1",
            "SSL://a:1",
            "a/b:1",
            "[x]:1",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(addresses("a:1, b:2").unwrap(), ["a:1", "b:2"]);
        assert!(addresses("a:1,").is_err());
    }

    #[test]
    fn a_broken_pattern_is_explained_in_one_line() {
        for text in ["*.tmp", "orders(", "[", "a{2,1}", "(?P<a>", "\\p{nothing}"] {
            let refusal = pattern(text).unwrap_err();
            assert!(!one_line(&refusal).contains('\n'), "{refusal:?}");
            assert!(refusal.problem.contains("is not a regular expression: "), "{refusal:?}");
        }
        assert!(pattern("*.tmp").unwrap_err().hint.contains("`.*`"));
        assert!(pattern("orders|eu").unwrap().is_match("eu"));
        assert!(!pattern("orders|eu").unwrap().is_match("eu2"));
    }
}
