//! Progress in Kafka's own form: the offsets of a consumer group on the source cluster.
//!
//! The group has no members; offsets are committed for it from outside, as its own tools do. Any tool that shows a
//! group's lag therefore shows a target's lag.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Context, SERVE, control_config};
use crate::domain::fault::Fault;
use crate::domain::note::{Note, Noted};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::ClusterSpec;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The group whose committed offsets are a target's watermarks.
pub fn group_name(route: &str, target: &str) -> String {
    format!("anabranch.{route}.{target}")
}

/// The committed offsets of one group. Its calls block.
pub struct Group {
    consumer: BaseConsumer<Context>,
    name: String,
}

impl Group {
    /// The group `name` on `cluster`. It does not have to exist.
    pub fn open(cluster: &ClusterSpec, name: &str) -> Result<Self, Fault> {
        let mut config = control_config(cluster);
        config.set("group.id", name);
        let consumer = config
            .create_with_context(Context::new(cluster, None))
            .map_err(|error| Context::new(cluster, None).fault("the client for commits can't be made", &error))?;
        Ok(Self { consumer, name: name.to_owned() })
    }

    /// What is committed for these partitions; those without a commit are left out.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>, Fault> {
        let noted = self.committed_with_notes(partitions)?;
        Ok(noted.into_iter().map(|(partition, noted)| (partition, noted.offset)).collect())
    }

    /// The same, with what was noted beside each offset: nothing where somebody else has committed it.
    pub fn committed_with_notes(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, Noted>, Fault> {
        let mut query = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            query.add_partition(&partition.topic, partition.partition);
        }
        let answer = self.consumer.committed_offsets(query, TIMEOUT).map_err(|error| self.fault("read", &error))?;
        let mut committed = HashMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.fault("read", &error))?;
            if let Offset::Offset(offset) = element.offset() {
                let note = read_note(element.metadata());
                committed.insert(TopicPartition::new(element.topic(), element.partition()), Noted { offset, note });
            }
        }
        Ok(committed)
    }

    /// Commits these offsets with their notes and waits for the broker's word.
    pub fn commit(&self, offsets: &[(TopicPartition, Noted)]) -> Result<(), Fault> {
        self.serve();
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, noted) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(noted.offset)).map_err(|error| self.fault("be committed", &error))?;
            element.set_metadata(write_note(&noted.note));
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| self.fault("be committed", &error))
    }

    fn fault(&self, doing: &str, error: &rdkafka::error::KafkaError) -> Fault {
        self.serve();
        self.consumer.context().fault(&format!("offsets of group {} can't {doing}", self.name), error)
    }

    /// Log lines and errors pile up in the client until somebody takes them. With no time at all, only one is taken.
    fn serve(&self) {
        while self.consumer.poll(SERVE).is_some() {}
    }
}

/// What was noted; nothing where the text is another tool's.
fn read_note(text: &str) -> Note {
    serde_json::from_str(text).unwrap_or_default()
}

fn write_note(note: &Note) -> String {
    serde_json::to_string(note).expect("a note is numbers and names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gap::GapKind;
    use crate::domain::note::Skipped;

    #[test]
    fn a_note_is_read_as_it_was_written_and_what_is_not_one_says_nothing() {
        let note = Note {
            topic_id: Some("nFVQHqnmTuGkzUUhYkcDZg".to_owned()),
            start: Some(7),
            epochs: vec![(0, 7), (3, 90)],
            skipped: vec![Skipped { from: 20, to: 25, kind: GapKind::Trimmed }],
            forgotten: 0,
        };
        let text = write_note(&note);
        let expected = r#"{"topic_id":"nFVQHqnmTuGkzUUhYkcDZg","start":7,"epochs":[[0,7],[3,90]],"skipped":[{"from":20,"to":25,"kind":"trimmed"}]}"#;
        assert_eq!(text, expected);
        assert_eq!(read_note(&text), note);
        assert_eq!(write_note(&Note::default()), "{}");
        for foreign in ["", "{}", "reset by hand", "[1]", r#"{"start":"x"}"#, r#"{"other":1}"#] {
            assert_eq!(read_note(foreign), Note::default(), "{foreign}");
        }
    }
}
