//! As much of `PromQL` as the rules ask about: which series an expression selects, within what, and by which labels it groups and joins.
//! Whether it is `PromQL` at all is Prometheus's to say.

use regex::Regex;

/// A selection of series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub name: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
    /// What stands in brackets after it.
    pub range: Option<String>,
    /// The function that it is given to, or empty.
    pub function: String,
    at: usize,
}

/// An aggregation: the labels that are left, and where what is aggregated begins and ends.
#[derive(Debug)]
pub struct Grouping {
    pub labels: Vec<String>,
    pub within: std::ops::Range<usize>,
}

/// All selections, in their order.
pub fn selectors(expr: &str) -> Vec<Selector> {
    let head = Regex::new(r"(anabranch_[a-z_]+\b)|([A-Za-z_:]+)\{").unwrap();
    let matcher = Regex::new(r#"(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)""#).unwrap();
    let tail = Regex::new(r"^(?:\{([^}]*)\})?(?:\[([^\]]*)\])?").unwrap();
    let found = head.captures_iter(expr).map(|found| {
        let name = found.get(1).or(found.get(2)).unwrap();
        let tail = tail.captures(&expr[name.end()..]).unwrap();
        let inside = tail.get(1).map_or("", |inside| inside.as_str());
        let matchers = matcher.captures_iter(inside);
        Selector {
            name: name.as_str().to_owned(),
            matchers: matchers.map(|m| (m[1].to_owned(), m[2].to_owned(), m[3].to_owned())).collect(),
            range: tail.get(2).map(|range| range.as_str().to_owned()),
            function: function(&expr[..name.start()]).to_owned(),
            at: name.start(),
        }
    });
    found.collect()
}

/// The word before the innermost parenthesis that is still open.
fn function(before: &str) -> &str {
    let mut closed = 0;
    for (at, c) in before.char_indices().rev() {
        match c {
            ')' => closed += 1,
            '(' if closed > 0 => closed -= 1,
            '(' => {
                let word = before[..at].trim_end();
                let begins = word.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
                return &word[begins..];
            }
            _ => {}
        }
    }
    ""
}

/// All aggregations by labels.
pub fn groupings(expr: &str) -> Vec<Grouping> {
    let by = Regex::new(r"\bby \(([^)]*)\) \(").unwrap();
    let found = by.captures_iter(expr).map(|found| {
        let begin = found.get(0).unwrap().end();
        let mut open = 1;
        let length = expr[begin..].find(|c| {
            open += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            open == 0
        });
        Grouping {
            labels: list(&found[1]),
            within: begin..begin + length.unwrap_or_else(|| panic!("{expr}: unbalanced")),
        }
    });
    found.collect()
}

/// The labels that both sides of something are joined on.
pub fn joins(expr: &str) -> Vec<String> {
    let on = Regex::new(r"\bon \(([^)]*)\)").unwrap();
    on.captures_iter(expr).flat_map(|found| list(&found[1])).collect()
}

fn list(labels: &str) -> Vec<String> {
    labels.split(',').map(|label| label.trim().to_owned()).collect()
}

impl Grouping {
    /// Whether it has this selection within.
    pub fn has(&self, selector: &Selector) -> bool {
        self.within.contains(&selector.at)
    }
}

#[test]
fn selections_groupings_and_joins_are_found() {
    let expr = r#"sum by (a, b) (rate(anabranch_x_total{job=~"$job", state!~"a|b"}[5m])) - on (a) up{job="1"} > anabranch_y offset 1h"#;
    let [x, up, y] = selectors(expr).try_into().unwrap();
    let matcher = |label: &str, op: &str, value: &str| (label.to_owned(), op.to_owned(), value.to_owned());
    assert_eq!(x.matchers, [matcher("job", "=~", "$job"), matcher("state", "!~", "a|b")]);
    assert_eq!((x.name.as_str(), x.range.as_deref(), x.function.as_str()), ("anabranch_x_total", Some("5m"), "rate"));
    assert_eq!((up.name.as_str(), up.matchers.len(), up.function.as_str()), ("up", 1, ""));
    assert_eq!((y.name.as_str(), y.range, y.matchers.len()), ("anabranch_y", None, 0));
    let [grouping] = groupings(expr).try_into().unwrap();
    assert_eq!((grouping.labels.join(" ").as_str(), grouping.has(&x), grouping.has(&up)), ("a b", true, false));
    assert_eq!(joins(expr), ["a"]);
}
