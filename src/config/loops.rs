//! A route must not select what it writes itself: neither its copies nor its dead letters.

use super::mistake::Read;
use super::reader::Field;
use crate::domain::routing::TopicTemplate;
use crate::plan::{ClusterSpec, DeadLetterPlan, Selected, TopicSelection};

/// Two aliases may stand for one cluster; a shared address gives that away.
fn is_same_cluster(one: &ClusterSpec, other: &ClusterSpec) -> bool {
    one.alias == other.alias || one.bootstrap.iter().any(|address| other.bootstrap.contains(address))
}

/// A route may copy within its source cluster, under other names that it does not select itself.
pub(super) fn check_copies(
    field: &Field<'_>,
    (cluster, topic): (&ClusterSpec, &TopicTemplate),
    (source, topics): (&ClusterSpec, &TopicSelection),
) -> Read<()> {
    if !is_same_cluster(source, cluster) {
        return Ok(());
    }
    if *topic == TopicTemplate::same() {
        let hint = "name another cluster, or give `topic` another name, such as copy.{topic}";
        return Err(field.wrong("would copy a topic onto itself: the source cluster is the target", hint));
    }
    if selects(topics, |name| topic.apply(name).ok()) {
        let hint = "name another cluster, or add the copies' names to `topics.exclude`";
        return Err(field.wrong("would copy its own copies without end: the source cluster is the target", hint));
    }
    Ok(())
}

/// A dead letter among the records that it could not join would be taken for one of them.
pub(super) fn check_dead_letters_apart(
    field: &Field<'_>,
    (cluster, topic): (&ClusterSpec, &TopicTemplate),
    dead_letter: &DeadLetterPlan,
) -> Read<()> {
    let topic = topic.to_string();
    let composed = dead_letter.topic.to_string().replace("{topic}", &topic);
    if composed == topic && is_same_cluster(cluster, &dead_letter.cluster) {
        let hint = "give `retry.dead_letter.topic` another name, such as {topic}.dead-letter";
        return Err(field.wrong("its dead letters would go to the target topic itself", hint));
    }
    Ok(())
}

/// Dead letters may go back to the source cluster, to topics that the route does not select.
pub(super) fn check_dead_letters_not_selected(
    field: &Field<'_>,
    topic: &TopicTemplate,
    dead_letter: &DeadLetterPlan,
    (source, topics): (&ClusterSpec, &TopicSelection),
) -> Read<()> {
    let name = |source_topic: &str| dead_letter.topic.apply(&topic.apply(source_topic).ok()?).ok();
    if is_same_cluster(source, &dead_letter.cluster) && selects(topics, name) {
        let hint = "give `retry.dead_letter` another cluster, or add the names of its topics to `topics.exclude`";
        return Err(
            field.wrong("would copy its own dead letters: they go to topics of the source that it selects", hint)
        );
    }
    Ok(())
}

/// Whether a topic is selected that is made from one that is selected.
fn selects(topics: &TopicSelection, made: impl Fn(&str) -> Option<String>) -> bool {
    samples(topics).iter().filter_map(|name| made(name)).any(|name| topics.select(&name) == Selected::Yes)
}

/// Names that the route may meet: of each simple pattern one, and any name at all where no pattern is simple.
fn samples(topics: &TopicSelection) -> Vec<String> {
    const ANY: &str = "anabranch";
    let plain = |pattern: &str| {
        let filled = ["[^.]*", "[^.]+", ".*", ".+"].iter().fold(pattern.to_owned(), |text, any| text.replace(any, ANY));
        filled.replace('\\', "")
    };
    let patterns = topics.include.iter().flat_map(|regex| {
        let whole = regex.as_str();
        whole.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(whole).split('|')
    });
    let mut found: Vec<_> = patterns.map(plain).filter(|name| topics.select(name) == Selected::Yes).collect();
    if found.is_empty() {
        found.push(ANY.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::whole_name;

    fn topics(include: &str, exclude: &str) -> TopicSelection {
        let patterns = |text: &str| text.split_whitespace().map(|one| whole_name(one).unwrap()).collect();
        TopicSelection { include: patterns(include), exclude: patterns(exclude) }
    }

    #[test]
    fn what_a_route_would_select_again_is_found_for_simple_patterns() {
        for (include, exclude, template, again) in [
            (r"orders\..*", "", "{topic}.copy", true),
            (r"orders\..*", "", "orders.{topic}", true),
            (r"orders\..*", "", "copy.{topic}", false),
            (r"orders\..*", r".*\.copy", "{topic}.copy", false),
            (r"orders\.[^.]+", "", "{topic}.copy", false),
            ("orders|orders.copy", "", "{topic}.copy", true),
            ("orders other", "", "{topic}.copy", false),
            (".*", "", "copy.{topic}", true),
            (".*", r"copy\..*", "copy.{topic}", false),
            (r"\w{3,5}s", "", "{topic}s", false), // not simple: any name is tried, and nothing is said
        ] {
            let template = TopicTemplate::parse(template).unwrap();
            let selected = selects(&topics(include, exclude), |name| template.apply(name).ok());
            assert_eq!(selected, again, "{include} without {exclude} to {template}");
        }
    }
}
