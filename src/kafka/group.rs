//! Progress in Kafka's own form: the offsets of a consumer group on the source cluster.
//!
//! The group has no members; offsets are committed for it from outside, as its own tools do. Any tool that shows a
//! group's lag therefore shows a target's lag.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Context, SERVE, control_config};
use super::ffi;
use crate::domain::fault::Fault;
use crate::domain::note::Note;
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

    /// What is committed for these partitions, and the note with it; those without a commit are left out. What other tools have
    /// committed has an empty note.
    pub fn committed_with_notes(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, (i64, Note)>, Fault> {
        let mut query = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            query.add_partition(&partition.topic, partition.partition);
        }
        let answer = self.consumer.committed_offsets(query, TIMEOUT).map_err(|error| self.fault("read", &error))?;
        let mut committed = HashMap::new();
        for (element, metadata) in answer.elements().iter().zip(ffi::metadata_of(&answer)) {
            element.error().map_err(|error| self.fault("read", &error))?;
            if let Offset::Offset(offset) = element.offset() {
                // whatever another tool has written there is no note of ours
                let note = serde_json::from_slice(&metadata).unwrap_or_default();
                committed.insert(TopicPartition::new(element.topic(), element.partition()), (offset, note));
            }
        }
        Ok(committed)
    }

    /// The same without the notes.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>, Fault> {
        let committed = self.committed_with_notes(partitions)?;
        Ok(committed.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect())
    }

    /// Commits these offsets, each with its note, and waits for the broker's word.
    pub fn commit(&self, offsets: &[(TopicPartition, i64, Note)]) -> Result<(), Fault> {
        self.serve();
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset, note) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(*offset)).map_err(|error| self.fault("be committed", &error))?;
            element.set_metadata(serde_json::to_string(note).unwrap_or_default());
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
