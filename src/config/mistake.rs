//! What is wrong with a config: every mistake with its path and what to do about it, gathered into one report.

use std::cell::RefCell;
use std::fmt;

/// One thing that is wrong, where it stands and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path, such as `routes.orders.to.shanghai.topic`.
    pub path: String,
    /// What is wrong. Never a secret.
    pub problem: String,
    /// What to do next.
    pub hint: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.problem, self.hint)
    }
}

/// All mistakes of a config: one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            let line_break = if at == 0 { "" } else { "\n" };
            write!(f, "{line_break}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A value is missing because of a mistake that stands in the report already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// A value, or the knowledge that its mistake is reported: what depends on it stays quiet.
pub(super) type Read<T> = Result<T, Reported>;

/// Why a text is refused, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) hint: String,
}

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }
}

/// Gathers mistakes while a config is read. Shared by all its readers, hence the cell.
#[derive(Debug, Default)]
pub(super) struct Report(RefCell<Vec<Mistake>>);

impl Report {
    /// Adds a mistake.
    pub(super) fn add(&self, path: &str, problem: impl Into<String>, hint: impl Into<String>) -> Reported {
        let path = if path.is_empty() { "(top level)".to_owned() } else { printable(path) };
        self.0.borrow_mut().push(Mistake { path, problem: problem.into(), hint: hint.into() });
        Reported
    }

    /// All mistakes, in the order in which they were found.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// Control characters escaped: a mistake is one line, and nothing in a config may steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// A text in quotes, cut where it gets long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let cut: String = text.chars().take(LONGEST).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("`{}{dots}`", printable(&cut))
}

/// The known name that is most like `name`, if any is like it.
pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const ALIKE: f64 = 0.84;
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', '.', ' '], "");
    let wanted = plain(name);
    known
        .into_iter()
        .map(|candidate| {
            let candidate_plain = plain(candidate);
            let likeness = strsim::jaro_winkler(&wanted, &candidate_plain)
                .max(strsim::normalized_damerau_levenshtein(&wanted, &candidate_plain) + 0.1);
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// What to write instead of `name`: the nearest known name, or all of them.
pub(super) fn suggestion<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    if let Some(near) = nearest(name, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<_> = known.into_iter().collect();
    if known.is_empty() {
        return "there is none".to_owned();
    }
    format!("known here: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_stranger_is_not() {
        let known = ["max_messages", "max_wait", "max_bytes"];
        assert_eq!(nearest("maxWait", known), Some("max_wait"));
        assert_eq!(nearest("max_byte", known), Some("max_bytes"));
        assert_eq!(nearest("max-mesages", known), Some("max_messages"));
        assert_eq!(nearest("retry", known), None);
        assert_eq!(suggestion("retry", known), "known here: max_messages, max_wait, max_bytes");
    }

    #[test]
    fn a_mistake_is_one_line_without_control_characters() {
        let report = Report::default();
        let _ = report.add("a.b\nc", format!("{} is wrong", quoted("x\u{1b}[31m\n")), "mend it");
        let mistakes = Mistakes(report.into_mistakes());
        assert_eq!(mistakes.to_string(), "a.b\\nc: `x\\u{1b}[31m\\n` is wrong; mend it");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(quoted(&"é".repeat(81)), format!("`{}…`", "é".repeat(80)));
    }
}
