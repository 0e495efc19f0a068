//! The engine's log as a user sees it: a JSON object per line.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

/// The lines of a log so far.
#[derive(Clone, Debug)]
pub struct Log(Vec<Value>);

impl Log {
    /// Reads what is complete; a line that is no JSON is none of the engine's.
    pub fn read(text: &str) -> Self {
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        Self(complete.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    pub fn lines(&self) -> &[Value] {
        &self.0
    }

    /// The lines with a message.
    pub fn with_message(&self, message: &str) -> Vec<&Value> {
        self.0.iter().filter(|line| line["message"] == message).collect()
    }

    /// The lines with a message that are about a target.
    pub fn about(&self, message: &str, target: &str) -> Vec<&Value> {
        let lines = self.with_message(message).into_iter();
        lines.filter(|line| line["target"] == target).collect()
    }

    /// The state that a target is in: the last one that was told.
    pub fn state_of(&self, target: &str) -> Option<&Value> {
        self.about("target state", target).pop()
    }

    /// Every state that a target was in, in turn.
    pub fn states_of(&self, target: &str) -> Vec<&str> {
        self.about("target state", target).into_iter().map(|line| text(line, "state")).collect()
    }

    /// Each time that a new actor of a kind was made in the place of another.
    pub fn made_anew(&self, actor: &str) -> Vec<&Value> {
        self.with_message("made anew").into_iter().filter(|line| line["actor"] == actor).collect()
    }

    /// The partitions that the engine has of those that it shares with others.
    pub fn share(&self) -> BTreeSet<String> {
        let mut share = BTreeSet::new();
        for line in self.lines() {
            let named = || line["partitions"].as_str().unwrap_or_default().split_whitespace().map(str::to_owned);
            match line["message"].as_str().unwrap_or_default() {
                "given" => share.extend(named()),
                "taken" => share.retain(|partition| !named().any(|taken| taken == *partition)),
                "fenced" => share.clear(),
                _ => {}
            }
        }
        share
    }

    /// The counters of a target at the end of its route.
    pub fn closed(&self, target: &str) -> &Value {
        self.about("target closed", target).pop().unwrap_or_else(|| panic!("no \"target closed\" for {target}"))
    }
}

/// A field that has to be a text.
pub fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_else(|| panic!("no text {field} in {line}"))
}

/// A field that has to be a whole number.
pub fn number(line: &Value, field: &str) -> u64 {
    line[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {line}"))
}

/// When a line was written, by its own word.
pub fn time(line: &Value) -> Duration {
    let stamp = text(line, "timestamp");
    let time = humantime::parse_rfc3339(stamp).unwrap_or_else(|error| panic!("{stamp}: {error}"));
    time.duration_since(UNIX_EPOCH).unwrap()
}
