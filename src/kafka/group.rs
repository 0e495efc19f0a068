//! Progress in Kafka's own form: the offsets of a consumer group on the source cluster.
//!
//! The group has no members; offsets are committed for it from outside, as its own tools do. Any tool that shows a
//! group's lag therefore shows a target's lag.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::client::{Context, SERVE, control_config};
use super::ffi;
use super::patience::{PAUSE, patiently};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::note::Note;
use crate::domain::topic_partition::TopicPartition;
use crate::plan::ClusterSpec;

/// The longest that the coordinator is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The group whose committed offsets are a target's watermarks.
pub fn group_name(route: &str, target: &str) -> String {
    format!("anabranch.{route}.{target}")
}

/// The committed offsets of one group. Its calls block.
pub struct Group {
    cluster: ClusterSpec,
    config: ClientConfig,
    consumer: BaseConsumer<Context>,
    /// Made when it is needed. One commit at a time: the order of what is on its way is not known.
    committer: Mutex<Option<ffi::Committer>>,
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
        let cluster = cluster.clone();
        Ok(Self {
            config: control_config(&cluster),
            cluster,
            consumer,
            committer: Mutex::default(),
            name: name.to_owned(),
        })
    }

    /// What is committed for these partitions, and the note with it; those without a commit are left out. What other tools have
    /// committed has an empty note.
    pub fn committed_with_notes(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, (i64, Note)>, Fault> {
        patiently(|pause| drop(self.consumer.poll(pause)), || self.read_committed(partitions))
    }

    fn read_committed(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, (i64, Note)>, Fault> {
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

    /// Commits these offsets, each with its note, and waits for the broker's word, but for no longer than `within`: whatever was not
    /// sent by then is not sent any more.
    pub fn commit(&self, offsets: &[(TopicPartition, i64, Note)], within: Option<Duration>) -> Result<(), Fault> {
        self.serve();
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset, note) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(*offset)).map_err(|error| self.fault("be committed", &error))?;
            element.set_metadata(serde_json::to_string(note).unwrap_or_default());
        }
        let deadline = Instant::now() + within.map_or(TIMEOUT, |within| within.min(TIMEOUT));
        let mut slot = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let fault = match self.try_commit(&mut slot, &list, deadline.saturating_duration_since(Instant::now())) {
                Err(fault) if fault.class == FaultClass::System => fault,
                done => return done,
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(fault);
            }
            // another broker may be the group's coordinator by now, or this one has to read first what was committed
            self.consumer.poll(PAUSE);
        }
    }

    fn try_commit(
        &self,
        slot: &mut Option<ffi::Committer>,
        list: &TopicPartitionList,
        timeout: Duration,
    ) -> Result<(), Fault> {
        let committer = match slot.take() {
            Some(committer) => committer,
            None => ffi::Committer::new(&self.config, Context::new(&self.cluster, None))
                .map_err(|error| self.fault("be committed", &error))?,
        };
        let result = committer.commit(&self.name, list, timeout);
        let failed = |error: &KafkaError| committer.context().fault(&self.doing("be committed"), error);
        let fault = result.as_ref().err().map(failed);
        if result.as_ref().err().is_none_or(is_answer) {
            *slot = Some(committer);
        }
        fault.map_or(Ok(()), Err)
    }

    fn doing(&self, what: &str) -> String {
        format!("offsets of group {} can't {what}", self.name)
    }

    fn fault(&self, doing: &str, error: &KafkaError) -> Fault {
        self.serve();
        self.consumer.context().fault(&self.doing(doing), error)
    }

    /// Log lines and errors pile up in the client until somebody takes them. With no time at all, only one is taken.
    fn serve(&self) {
        while self.consumer.poll(SERVE).is_some() {}
    }
}

/// Whether it is the group's coordinator that says so: nothing is on its way then, and it is the right one to be asked again.
fn is_answer(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::NotCoordinator | Code::CoordinatorNotAvailable) | None => false,
        Some(code) => code as i32 > 0,
    }
}
