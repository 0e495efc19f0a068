//! A small typed reader over the raw tree. Unlike serde it goes on after a mistake, so that one run shows them all.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::mistake::{Read, Refusal, Report, Reported, nearest, quoted, suggestion};
use super::tree::{Map, Node, join};
use super::values;

/// A place in the tree: what stands there, if anything, and its path.
#[derive(Clone)]
pub(super) struct Field<'a> {
    node: Option<&'a Node>,
    path: String,
    report: &'a Report,
    /// What every hint here ends with.
    or: &'static str,
}

const UNLIMITED: &str = "unlimited";

impl<'a> Field<'a> {
    /// Whether it has a value; an empty one counts as none.
    pub(super) fn is_set(&self) -> bool {
        self.node.is_some()
    }

    /// Whether it has keys of its own.
    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.node, Some(Node::Map(_)))
    }

    /// Reports a mistake here.
    pub(super) fn wrong(&self, problem: impl Into<String>, hint: impl Into<String>) -> Reported {
        self.report.add(&self.path, problem, hint.into() + self.or)
    }

    fn refuse(&self, refusal: Refusal) -> Reported {
        self.wrong(refusal.problem, refusal.hint)
    }

    fn wrong_kind(&self, node: &Node, expected: &str, hint: &str) -> Reported {
        match node {
            Node::Broken => Reported,
            _ => self.wrong(format!("is {}, not {expected}", node.kind()), hint),
        }
    }

    /// Reports the mistake if there is no value.
    pub(super) fn required(&self, hint: &str) -> Read<&Self> {
        if self.is_set() { Ok(self) } else { Err(self.wrong("is missing", hint)) }
    }

    /// A text; never empty.
    pub(super) fn text(&self, hint: &str) -> Read<Option<&'a str>> {
        match self.node {
            None => Ok(None),
            Some(Node::Text { text, .. }) if text.trim().is_empty() => Err(self.wrong("is empty", hint)),
            Some(Node::Text { text, .. }) => Ok(Some(text)),
            Some(Node::Flag(_) | Node::Integer(_) | Node::Fraction(_)) => {
                Err(self.wrong("is read by YAML as something else than a text", "put it in quotes"))
            }
            Some(node) => Err(self.wrong_kind(node, "a text", hint)),
        }
    }

    /// What a message may show of a text: not what the environment gave.
    pub(super) fn shown(&self) -> String {
        match self.node {
            Some(Node::Text { text, hidden: false }) => quoted(text),
            _ => "its value, which the environment gave,".to_owned(),
        }
    }

    /// A text with a meaning.
    pub(super) fn parsed<T>(&self, hint: &str, parse: impl Fn(&str) -> Result<T, Refusal>) -> Read<Option<T>> {
        let Some(text) = self.text(hint)? else { return Ok(None) };
        match parse(text) {
            Ok(value) => Ok(Some(value)),
            Err(refusal) if self.is_hidden() => {
                Err(self.wrong("what the environment gave for it is refused", refusal.hint))
            }
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// What `read` makes of it, or `unlimited`, which is `None`. Where there is no value it is `default`.
    pub(super) fn or_unlimited<T>(
        &self,
        default: Option<T>,
        read: impl FnOnce(&Self) -> Read<Option<T>>,
    ) -> Read<Option<T>> {
        match self.node {
            Some(Node::Text { text, .. }) if text == UNLIMITED => Ok(None),
            _ => Ok(read(&Field { or: ", or write unlimited", ..self.clone() })?.or(default)),
        }
    }

    fn is_hidden(&self) -> bool {
        matches!(self.node, Some(Node::Text { hidden: true, .. }))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Read<Option<T>> {
        let words = || choices.iter().map(|(word, _)| *word);
        let all = format!("write one of: {}", words().collect::<Vec<_>>().join(", "));
        self.parsed(&all, |text| match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let near = nearest(text, words()).map(|word| format!("did you mean `{word}`? ")).unwrap_or_default();
                Err(Refusal::new(format!("{} is not known", quoted(text)), format!("{near}{all}")))
            }
        })
    }

    /// `true` or `false`; as a text too, since variables have no other type.
    pub(super) fn flag(&self) -> Read<Option<bool>> {
        const HINT: &str = "write true or false";
        match self.node {
            Some(Node::Flag(flag)) => Ok(Some(*flag)),
            Some(Node::Text { text, .. }) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(Node::Text { .. }) => Err(self.wrong(format!("{} is not a switch", self.shown()), HINT)),
            Some(node) => Err(self.wrong_kind(node, "true or false", HINT)),
            None => Ok(None),
        }
    }

    /// A whole number; as a text too, since variables have no other type.
    pub(super) fn integer(&self, range: RangeInclusive<i64>) -> Read<Option<i64>> {
        let hint = format!("write a whole number from {} to {}", range.start(), range.end());
        let number = match self.node {
            None => return Ok(None),
            Some(Node::Integer(number)) => *number,
            Some(Node::Text { text, .. }) => {
                text.parse().map_err(|_| self.wrong(format!("{} is not a whole number", self.shown()), &hint))?
            }
            Some(Node::Fraction(_)) => return Err(self.wrong("is not a whole number", &hint)),
            Some(node) => return Err(self.wrong_kind(node, "a whole number", &hint)),
        };
        if range.contains(&number) { Ok(Some(number)) } else { Err(self.out_of_range(number, hint)) }
    }

    /// A number with or without a fraction; as a text too, since variables have no other type.
    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Read<Option<f64>> {
        let hint = format!("write a number from {} to {}", range.start(), range.end());
        let number = match self.node {
            None => return Ok(None),
            #[allow(clippy::cast_precision_loss)] // one that large is out of range
            Some(Node::Integer(number)) => *number as f64,
            Some(Node::Fraction(number)) => *number,
            Some(Node::Text { text, .. }) => {
                text.parse().map_err(|_| self.wrong(format!("{} is not a number", self.shown()), &hint))?
            }
            Some(node) => return Err(self.wrong_kind(node, "a number", &hint)),
        };
        if range.contains(&number) { Ok(Some(number)) } else { Err(self.out_of_range(number, hint)) }
    }

    fn out_of_range(&self, value: impl Display, hint: String) -> Reported {
        let shown = if self.is_hidden() { "what the environment gave for it".to_owned() } else { value.to_string() };
        self.wrong(format!("{shown} is out of range"), hint)
    }

    /// A size with a unit, or plain bytes.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Read<Option<u64>> {
        let [low, high] = [*range.start(), *range.end()].map(values::show_size);
        let hint = format!("write a size from {low} to {high}, with its unit");
        let bytes = match self.node {
            Some(Node::Integer(bytes)) => {
                Some(u64::try_from(*bytes).map_err(|_| self.wrong(format!("{bytes} is not a size"), &hint))?)
            }
            Some(Node::Flag(_) | Node::Fraction(_)) => return Err(self.wrong("is not a size", hint)),
            _ => self.parsed(&hint, values::size)?,
        };
        match bytes {
            Some(bytes) if !range.contains(&bytes) => Err(self.out_of_range(values::show_size(bytes), hint)),
            bytes => Ok(bytes),
        }
    }

    /// A duration with a unit.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Read<Option<Duration>> {
        let show = |duration| humantime::format_duration(duration).to_string();
        let [low, high] = [*range.start(), *range.end()].map(show);
        let hint = format!("write a duration from {low} to {high}, with its unit, such as 20ms or 60s");
        match self.measured("a duration", &hint, values::duration)? {
            Some(duration) if !range.contains(&duration) => Err(self.out_of_range(show(duration), hint)),
            duration => Ok(duration),
        }
    }

    /// A rate with its unit, in bytes per second.
    pub(super) fn rate(&self) -> Read<Option<u64>> {
        self.measured("a rate", values::RATE_HINT, values::rate)
    }

    /// A number with its unit: a text, where YAML makes something else of one without.
    pub(super) fn measured<T>(
        &self,
        noun: &str,
        hint: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Read<Option<T>> {
        match self.node {
            Some(Node::Integer(_) | Node::Flag(_) | Node::Fraction(_)) => {
                Err(self.wrong(format!("is not {noun}"), hint))
            }
            _ => self.parsed(hint, parse),
        }
    }

    /// The elements of a list; one value alone is a list of one.
    pub(super) fn list_or_one(&self) -> Vec<Field<'a>> {
        match self.node {
            None => Vec::new(),
            Some(Node::List(list)) => list
                .iter()
                .enumerate()
                .map(|(at, node)| Field { node: Some(node), path: format!("{}[{at}]", self.path), ..self.clone() })
                .collect(),
            Some(_) => vec![self.clone()],
        }
    }

    /// The entries of a mapping whose keys are the user's own.
    pub(super) fn entries(&self, hint: &str) -> Read<Vec<(&'a str, Field<'a>)>> {
        match self.node {
            None => Ok(Vec::new()),
            Some(Node::Map(map)) => Ok(map
                .iter()
                .map(|(key, node)| (key.as_str(), Field::new(Some(node), join(&self.path, key), self.report)))
                .collect()),
            Some(node) => Err(self.wrong_kind(node, "a mapping", hint)),
        }
    }

    fn new(node: Option<&'a Node>, path: String, report: &'a Report) -> Self {
        Self { node: node.filter(|node| !matches!(node, Node::Null)), path, report, or: "" }
    }

    /// A raw property's value: a text, a number or a switch.
    pub(super) fn scalar(&self) -> Read<String> {
        match self.node {
            Some(Node::Text { text, .. }) => Ok(text.clone()),
            Some(Node::Flag(flag)) => Ok(flag.to_string()),
            Some(Node::Integer(number)) => Ok(number.to_string()),
            Some(Node::Fraction(number)) => Ok(number.to_string()),
            Some(node) => Err(self.wrong_kind(node, "one value", "write a text, a number, true or false")),
            None => Err(self.wrong("has no value", "give it one, or leave the key out")),
        }
    }

    /// A mapping with known keys; where there is none, one without any.
    pub(super) fn section(&self, known: &'static [&'static str]) -> Read<Section<'a>> {
        let map = match self.node {
            None => None,
            Some(Node::Map(map)) => Some(map),
            Some(node) => {
                let hint = format!("write a mapping with: {}", known.join(", "));
                return Err(self.wrong_kind(node, "a mapping", &hint));
            }
        };
        Ok(Section::new(map, self.path.clone(), known, self.report))
    }
}

/// A mapping whose keys are known. Unknown ones are reported by name alone: their values may be secrets.
pub(super) struct Section<'a> {
    map: Option<&'a Map>,
    path: String,
    known: &'static [&'static str],
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// Opens a mapping and reports its unknown keys.
    pub(super) fn new(map: Option<&'a Map>, path: String, known: &'static [&'static str], report: &'a Report) -> Self {
        for key in map.into_iter().flat_map(Map::keys).filter(|key| !known.contains(&key.as_str())) {
            let _ = report.add(&join(&path, key), "unknown key", suggestion(key, known.iter().copied()));
        }
        Self { map, path, known, report }
    }

    /// What stands under one of the known keys.
    pub(super) fn field(&self, key: &'static str) -> Field<'a> {
        debug_assert!(self.known.contains(&key), "a key that is read is a known one");
        Field::new(self.map.and_then(|map| map.get(key)), join(&self.path, key), self.report)
    }
}
