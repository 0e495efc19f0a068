//! The raw keys and values: YAML through the `config` crate, then `${NAME}`, then `ANABRANCH__A__B=...`.
//!
//! The sources are merged here and not by `config`'s builder, because that takes a dot in a key for a step down
//! and would tear `socket.keepalive.enable` or the topic `orders.eu` apart.

use std::collections::BTreeMap;

use ::config::{Environment, File, FileFormat, Source, Value, ValueKind};

use super::mistake::{Report, printable, quoted};

/// A mapping, in the order of its keys.
pub(super) type Map = BTreeMap<String, Node>;

/// A raw value. It may hold a password, so it has no `Debug`.
#[derive(Clone)]
pub(super) enum Node {
    Null,
    Flag(bool),
    Integer(i64),
    Fraction(f64),
    /// `hidden` where the environment gave a part of it: then no message may repeat it.
    Text {
        text: String,
        hidden: bool,
    },
    List(Vec<Node>),
    Map(Map),
    /// A mistake in it is reported already.
    Broken,
}

impl Node {
    /// What it is, for messages that must not show the value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Flag(_) => "true or false",
            Self::Integer(_) | Self::Fraction(_) => "a number",
            Self::Text { .. } => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
            Self::Broken => "broken",
        }
    }
}

/// The path of `key` below `parent`.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// Reads YAML. The error is one line, with the line number where the parser gives one.
pub(super) fn parse(text: &str) -> Result<Map, String> {
    let table = File::from_str(text, FileFormat::Yaml).collect().map_err(|error| describe(&error))?;
    Ok(table.into_iter().map(|(key, value)| (key, node(value))).collect())
}

fn node(value: Value) -> Node {
    match value.kind {
        ValueKind::Nil => Node::Null,
        ValueKind::Boolean(flag) => Node::Flag(flag),
        ValueKind::I64(number) => Node::Integer(number),
        // YAML gives none of the wide ones; if that changes, a number out of range is refused by its reader
        ValueKind::I128(number) => Node::Integer(i64::try_from(number).unwrap_or(i64::MIN)),
        ValueKind::U64(number) => Node::Integer(i64::try_from(number).unwrap_or(i64::MIN)),
        ValueKind::U128(number) => Node::Integer(i64::try_from(number).unwrap_or(i64::MIN)),
        ValueKind::Float(number) => Node::Fraction(number),
        ValueKind::String(text) => Node::Text { text, hidden: false },
        ValueKind::Array(list) => Node::List(list.into_iter().map(node).collect()),
        ValueKind::Table(table) => Node::Map(table.into_iter().map(|(key, value)| (key, node(value))).collect()),
    }
}

/// What the parser says, without the values that some of its messages repeat: they may be secrets.
fn describe(error: &::config::ConfigError) -> String {
    let ::config::ConfigError::FileParse { cause, .. } = error else {
        return "cannot be read as YAML".to_owned();
    };
    let text = cause.to_string();
    if text.starts_with("invalid type: ") {
        return "is not a mapping: start with `clusters:` and `routes:`".to_owned();
    }
    if text.contains("unsupported hash key type") {
        return "has a key that is not a plain word: put a value that starts with `{` or `[` in quotes".to_owned();
    }
    if text.contains("YAML documents") {
        return "has several YAML documents: keep one, without `---` between".to_owned();
    }
    // every scan error ends with " at byte B line L column C"
    let Some((what, place)) = text.rsplit_once(" at byte ") else {
        return "is not YAML: look for a number such as `.inf`, and put it in quotes".to_owned();
    };
    let place = place.split_once(' ').map_or("", |(_, line_and_column)| line_and_column);
    match what.strip_suffix(": duplicated key in mapping") {
        Some(key) => match key.strip_prefix("String(\"").and_then(|key| key.strip_suffix("\")")) {
            Some(key) => format!("{place}: the key {} stands twice: keep one", quoted(key)),
            None => format!("{place}: a key stands twice: keep one"),
        },
        None if what.contains("flow ") => {
            format!("{place}: is not YAML: {}; inside {{ }} and [ ] put `${{NAME}}` in quotes", printable(what))
        }
        None => format!("{place}: is not YAML: {}", printable(what)),
    }
}

/// A key that the environment set, and the variable that did.
pub(super) struct Override {
    /// The highest key that the file did not have, or the key itself.
    pub(super) path: String,
    pub(super) variable: String,
}

const PREFIX: &str = "ANABRANCH";
const SEPARATOR: &str = "__";

/// Puts `ANABRANCH__A__B=...` over the key `a.b`. A key of the file is found whatever its capitals are, since
/// variables are commonly written in capitals alone; a key that the file does not have is made in lower case.
pub(super) fn override_from(root: &mut Map, env: &BTreeMap<String, String>) -> Vec<Override> {
    let variables = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let source = Environment::with_prefix(PREFIX).prefix_separator(SEPARATOR).source(Some(variables));
    // collecting from a given map cannot fail: that is for names and values that are not Unicode
    let Ok(found) = source.collect() else { return Vec::new() };
    let found: BTreeMap<_, _> = found.into_iter().collect();
    found.into_iter().map(|(key, value)| set(root, &key, node(value))).collect()
}

fn set(root: &mut Map, key: &str, value: Node) -> Override {
    let variable = format!("{PREFIX}{SEPARATOR}{}", key.to_uppercase());
    let mut path = String::new();
    let mut made = None;
    let mut map = root;
    let mut steps = key.split(SEPARATOR).peekable();
    while let Some(step) = steps.next() {
        let name = spelled_as_in(map, step);
        path = join(&path, &name);
        if made.is_none() && !map.contains_key(&name) {
            made = Some(path.clone());
        }
        if steps.peek().is_none() {
            map.insert(name, unexpanded(value));
            break;
        }
        let child = map.entry(name).or_insert(Node::Null);
        if !matches!(child, Node::Map(_)) {
            *child = Node::Map(Map::new());
        }
        let Node::Map(next) = child else { break };
        map = next;
    }
    Override { path: made.unwrap_or(path), variable }
}

/// What the environment gives is taken as it is: its `${` is escaped against [`expand`].
fn unexpanded(value: Node) -> Node {
    match value {
        Node::Text { text, .. } => Node::Text { text: text.replace("${", "$${"), hidden: true },
        other => other,
    }
}

fn spelled_as_in(map: &Map, step: &str) -> String {
    if map.contains_key(step) {
        return step.to_owned();
    }
    map.keys().find(|key| key.eq_ignore_ascii_case(step)).cloned().unwrap_or_else(|| step.to_owned())
}

/// Replaces `${NAME}` in every text. A variable that is not set is a mistake of the key that names it.
pub(super) fn expand(node: &mut Node, path: &str, env: &BTreeMap<String, String>, report: &Report) {
    match node {
        Node::Text { text, hidden } => match expand_text(text, env) {
            Ok(Some(expanded)) => {
                *hidden |= expanded.from_environment;
                *text = expanded.text;
            }
            Ok(None) => {}
            Err((problem, hint)) => {
                let _ = report.add(path, problem, hint);
                *node = Node::Broken;
            }
        },
        Node::List(list) => {
            for (at, child) in list.iter_mut().enumerate() {
                expand(child, &format!("{path}[{at}]"), env, report);
            }
        }
        Node::Map(map) => expand_map(map, path, env, report),
        _ => {}
    }
}

/// [`expand`] for every value of a mapping.
pub(super) fn expand_map(map: &mut Map, path: &str, env: &BTreeMap<String, String>, report: &Report) {
    for (key, child) in map {
        expand(child, &join(path, key), env, report);
    }
}

struct Expanded {
    text: String,
    from_environment: bool,
}

/// `None` where there is nothing to replace. The messages name variables, never their values.
fn expand_text(text: &str, env: &BTreeMap<String, String>) -> Result<Option<Expanded>, (String, String)> {
    const ESCAPE: &str = "write `$${` for a plain `${`";
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = Expanded { text: String::with_capacity(text.len()), from_environment: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.text.push_str(&rest[..at - 1]);
            expanded.text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        expanded.text.push_str(&rest[..at]);
        let Some((name, after)) = rest[at + 2..].split_once('}') else {
            return Err(("has a `${` without its `}`".to_owned(), format!("close it, or {ESCAPE}")));
        };
        if !is_variable_name(name) {
            let problem = "has a `${...}` that does not hold a variable's name";
            return Err((problem.to_owned(), format!("use letters, digits and `_`, or {ESCAPE}")));
        }
        let Some(value) = env.get(name) else {
            return Err((
                format!("the environment variable `{name}` is not set"),
                format!("set {name} before starting, or {ESCAPE}"),
            ));
        };
        expanded.text.push_str(value);
        expanded.from_environment = true;
        rest = after;
    }
    expanded.text.push_str(rest);
    Ok(Some(expanded))
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn text_at<'n>(map: &'n Map, path: &[&str]) -> &'n str {
        let (last, parents) = path.split_last().unwrap();
        let map = parents.iter().fold(map, |map, step| match map.get(*step) {
            Some(Node::Map(next)) => next,
            _ => panic!("no mapping {step}"),
        });
        match map.get(*last) {
            Some(Node::Text { text, .. }) => text,
            _ => panic!("no text {last}"),
        }
    }

    #[test]
    fn keys_with_dots_capitals_and_dashes_survive() {
        let text = "clusters: { Guang-Zhou.1: { client: { socket.keepalive.enable: \"true\" } } }\nroot.dotted: x\n";
        let mut map = parse(text).unwrap();
        assert_eq!(text_at(&map, &["root.dotted"]), "x");
        assert_eq!(text_at(&map, &["clusters", "Guang-Zhou.1", "client", "socket.keepalive.enable"]), "true");

        let made = override_from(&mut map, &env(&[("ANABRANCH__CLUSTERS__GUANG-ZHOU.1__REGION", "gz")]));
        assert_eq!(text_at(&map, &["clusters", "Guang-Zhou.1", "region"]), "gz");
        assert_eq!(made[0].path, "clusters.Guang-Zhou.1.region");
    }

    #[test]
    fn an_override_names_the_highest_key_that_it_made() {
        let mut map = parse("limits: { drain: 1s }").unwrap();
        let env = env(&[("ANABRANCH__LIMTIS__DRAIN", "2s"), ("ANABRANCH__LIMITS__DRAIN", "3s"), ("ANABRANCH_X", "no")]);
        let made: Vec<_> = override_from(&mut map, &env).into_iter().map(|o| (o.path, o.variable)).collect();
        let expected = [("limits.drain", "ANABRANCH__LIMITS__DRAIN"), ("limtis", "ANABRANCH__LIMTIS__DRAIN")]
            .map(|(p, v)| (p.to_owned(), v.to_owned()));
        assert_eq!(made, expected);
        assert_eq!(text_at(&map, &["limits", "drain"]), "3s");
    }

    #[test]
    fn variables_are_replaced_and_escapes_are_not() {
        let env = env(&[("A", "1"), ("EMPTY", ""), ("DOLLAR", "${A}")]);
        for (text, expected) in [
            ("${A}", "1"),
            ("x${A}y${A}", "x1y1"),
            ("${EMPTY}", ""),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("${DOLLAR}", "${A}"),
            ("$A costs $", "$A costs $"),
        ] {
            let got = expand_text(text, &env).unwrap().map_or(text.to_owned(), |expanded| expanded.text);
            assert_eq!(got, expected, "{text}");
        }
        for text in ["${B}", "${A", "${}", "${1A}", "${A-B}"] {
            assert!(expand_text(text, &env).is_err(), "{text}");
        }
    }

    #[test]
    fn what_an_override_gives_is_taken_as_it_is() {
        for value in ["${A}", "$${A}", "p$ss${", "$$"] {
            let env = env(&[("ANABRANCH__KEY", value)]);
            let mut map = parse("key: old").unwrap();
            override_from(&mut map, &env);
            let report = Report::default();
            expand_map(&mut map, "", &env, &report);
            assert_eq!(text_at(&map, &["key"]), value);
            assert!(report.into_mistakes().is_empty());
        }
    }

    #[test]
    fn a_text_that_is_not_a_config_is_refused_without_its_values() {
        for (text, expected) in [
            ("a: 1\na: 2\n", "the key `a` stands twice"),
            ("just hunter2", "is not a mapping"),
            ("- hunter2", "is not a mapping"),
            ("a: {{ hunter2 }}", "is not a plain word"),
            ("a: 'hunter2", "line 1 column"),
            ("a: 1\n---\nb: hunter2", "several YAML documents"),
            ("a: .inf", "is not YAML"),
            ("a:\n\t- hunter2", "line 2"),
            ("a: { b: ${HUNTER} }", "`${NAME}` in quotes"),
        ] {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} was read"));
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
        assert!(parse("").unwrap().is_empty());
    }
}
