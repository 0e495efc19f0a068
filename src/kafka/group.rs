//! Progress in Kafka's own form: the offsets of a consumer group on the source cluster.
//!
//! The group has no members; offsets are committed for it from outside, as its own tools do. Any tool that shows a
//! group's lag therefore shows a target's lag.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Context, SERVE, control_config};
use super::fault_map::code_of;
use super::ffi;
use super::patience::{PAUSE, patiently};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::note::Note;
use crate::domain::topic_partition::TopicPartition;
use crate::plan::ClusterSpec;

/// The longest that the coordinator is waited for with a question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After so many attempts a coordinator knows the topics that there are.
const KNOWN: u32 = 5;

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

    /// Commits these offsets, each with its note, and waits for the broker's word. `left` says for how long this may go on, and is
    /// asked again and again: whatever was not sent by then is not sent any more. Returns the topics that are not there (any
    /// more), whose offsets are not committed.
    pub fn commit(
        &self,
        offsets: &[(TopicPartition, i64, Note)],
        left: &dyn Fn() -> Option<Duration>,
    ) -> Result<BTreeSet<String>, Fault> {
        self.serve();
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset, note) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(*offset)).map_err(|error| self.fault("be committed", &error))?;
            element.set_metadata(serde_json::to_string(note).unwrap_or_default());
        }
        let mut slot = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        for attempt in 1.. {
            let Some(rest) = left().filter(|left| !left.is_zero()) else { break };
            match self.try_commit(&mut slot, &list, rest, left) {
                Ok(unknown) if unknown.is_empty() || attempt >= KNOWN => return Ok(unknown),
                Err(fault) if fault.class != FaultClass::System || left().is_some_and(|left| left <= PAUSE) => {
                    return Err(fault);
                }
                // another broker may be the coordinator by now; or this one is new, and has to read first what was committed, and
                // what topics there are
                Ok(_) | Err(_) => {}
            }
            self.consumer.poll(PAUSE);
        }
        let reason =
            format!("{}: this process may not act for it any more, or its time is up", self.doing("be committed"));
        Err(Fault::new(FaultClass::System, reason))
    }

    fn try_commit(
        &self,
        slot: &mut Option<ffi::Committer>,
        list: &TopicPartitionList,
        timeout: Duration,
        left: &dyn Fn() -> Option<Duration>,
    ) -> Result<BTreeSet<String>, Fault> {
        let committer = match slot.take() {
            Some(committer) => committer,
            None => ffi::Committer::new(&self.config, Context::new(&self.cluster, None))
                .map_err(|error| self.fault("be committed", &error))?,
        };
        let result = committer.commit(&self.name, list, timeout, &|| left().is_some());
        let is_kept = result.as_ref().err().is_none_or(is_answer);
        let result = result.map_err(|error| committer.context().fault(&self.doing("be committed"), &error));
        if is_kept {
            *slot = Some(committer);
        }
        result
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
    match code_of(error) {
        Some(Code::NotCoordinator | Code::CoordinatorNotAvailable) | None => false,
        Some(code) => code as i32 > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_kept_where_the_coordinator_itself_refuses() {
        use RDKafkaErrorCode as Code;
        for (code, is_kept) in [
            (Code::CoordinatorLoadInProgress, true),
            (Code::GroupAuthorizationFailed, true),
            (Code::NotCoordinator, false),
            (Code::OperationTimedOut, false),
            (Code::BrokerTransportFailure, false),
        ] {
            assert_eq!(is_answer(&KafkaError::AdminOp(code)), is_kept, "{code}");
        }
    }
}
