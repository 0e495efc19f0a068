//! Who leads what: the brokers of a cluster and the leaders of the partitions that somebody reads or writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use tokio::time::Instant;

use super::access::Access;
use super::connection::Connection;
use super::metadata::{self, Metadata};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::codes;

/// What tells a topic from another one of the same name; 0 where the cluster does not tell.
pub(super) type TopicId = u128;

/// How long a broker may take to be asked, from the beginning: another one can answer, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// A broker's number in its cluster.
pub(super) type BrokerId = i32;

/// Kafka's code for a topic or partition that is not there.
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// A partition's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) broker: BrokerId,
    /// In which term; -1 where the cluster does not say.
    pub(super) epoch: i32,
}

/// What was said of a partition last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Led {
    By(Leader),
    /// There is none now, and why.
    Nobody(i16),
}

/// What is known of a cluster.
#[derive(Debug, Default)]
pub(super) struct Directory {
    brokers: HashMap<BrokerId, Arc<str>>,
    partitions: HashMap<TopicPartition, Led>,
    /// The ids of the topics, where the cluster tells them.
    ids: HashMap<Arc<str>, TopicId>,
    /// Since when a topic or a partition is said not to be there.
    missing: HashMap<TopicPartition, Instant>,
}

impl Directory {
    /// A broker's `host:port`.
    pub(super) fn address(&self, broker: BrokerId) -> Option<&Arc<str>> {
        self.brokers.get(&broker)
    }

    /// A partition's leader, where it has one whose address is known.
    pub(super) fn leader(&self, partition: &TopicPartition) -> Option<Leader> {
        match self.partitions.get(partition) {
            Some(Led::By(leader)) if self.brokers.contains_key(&leader.broker) => Some(*leader),
            _ => None,
        }
    }

    /// The id of a topic, as it was told last; 0 where it was not.
    pub(super) fn topic_id(&self, topic: &str) -> TopicId {
        self.ids.get(topic).copied().unwrap_or(0)
    }

    /// Since when a partition is said not to be there.
    pub(super) fn missing_since(&self, partition: &TopicPartition) -> Option<Instant> {
        self.missing.get(partition).copied()
    }

    /// Why a partition's leader is not told, where that is not going to change by itself.
    pub(super) fn denied(&self, partition: &TopicPartition) -> Option<i16> {
        match self.partitions.get(partition) {
            Some(Led::Nobody(code)) if codes::class(*code) == FaultClass::Config => Some(*code),
            _ => None,
        }
    }

    /// The addresses to ask at: the brokers that are known, and then those that the config names.
    pub(super) fn addresses(&self, access: &Access) -> Vec<Arc<str>> {
        let configured = access.bootstrap.iter().map(|address| Arc::from(address.as_str()));
        let mut known: Vec<Arc<str>> = self.brokers.values().cloned().collect();
        fastrand::shuffle(&mut known);
        known.into_iter().chain(configured).collect()
    }

    /// Takes what a broker said of `asked`. A leader of an older term than the one that is known is not believed.
    pub(super) fn learn(&mut self, Learned { said, asked }: &Learned) {
        self.brokers = said.brokers.iter().cloned().collect();
        let mut led: HashMap<(&str, Option<i32>), Led> = HashMap::new();
        for topic in &said.topics {
            led.insert((&topic.name, None), Led::Nobody(topic.code));
            if topic.id != 0 && self.ids.insert(topic.name.clone(), topic.id).is_some_and(|known| known != topic.id) {
                // another topic of the same name, whose leaders' terms begin from the first again
                self.partitions.retain(|partition, _| partition.topic != topic.name);
            }
            let all = topic.partitions.iter();
            led.extend(all.map(|(partition, leader)| ((&*topic.name, Some(*partition)), leader.clone())));
        }
        for partition in asked {
            let whole = || led.get(&(&*partition.topic, None)).cloned();
            match led.get(&(&*partition.topic, Some(partition.partition))).cloned().or_else(whole) {
                // a topic without an error that lacks the partition
                Some(Led::Nobody(0 | UNKNOWN_TOPIC_OR_PARTITION)) | None => self.miss(partition),
                Some(led) => self.found(partition, led),
            }
        }
    }

    fn miss(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
        self.missing.entry(partition.clone()).or_insert_with(Instant::now);
    }

    fn found(&mut self, partition: &TopicPartition, led: Led) {
        self.missing.remove(partition);
        if let (Some(Led::By(known)), Led::By(said)) = (self.partitions.get(partition), &led)
            && said.epoch >= 0
            && said.epoch < known.epoch
            && self.brokers.contains_key(&known.broker)
        {
            return;
        }
        self.partitions.insert(partition.clone(), led);
    }

    /// Forgets a partition that nobody asks for any more.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
        self.missing.remove(partition);
    }
}

/// Asks a cluster who leads what. Keeps its connection.
pub(super) struct Inquirer {
    access: Arc<Access>,
    connection: Option<Connection>,
}

/// An answer, and for which partitions.
#[derive(Debug)]
pub(super) struct Learned {
    said: Metadata,
    asked: Vec<TopicPartition>,
}

impl Inquirer {
    pub(super) fn new(access: Arc<Access>) -> Self {
        Self { access, connection: None }
    }

    /// Asks one broker after the other until one answers.
    pub(super) async fn ask(&mut self, addresses: Vec<Arc<str>>, asked: Vec<TopicPartition>) -> Result<Learned, Fault> {
        let mut last = None;
        let fit = |open: &Connection| open.is_fit_for(&open.who().address);
        let known = self.connection.take().filter(fit).map(Whom::Connected);
        for whom in known.into_iter().chain(addresses.into_iter().map(Whom::At)) {
            match tokio::time::timeout(PATIENCE, ask_at(&self.access, whom, &asked)).await {
                Ok(Ok((connection, said))) => {
                    self.connection = Some(connection);
                    return Ok(Learned { said, asked });
                }
                Ok(Err(fault)) => last = Some(fault),
                Err(_) => last = Some(self.access.fault(FaultClass::System, "a broker", "no answer in time")),
            }
        }
        let nobody = || self.access.fault(FaultClass::System, "no broker", "none is known");
        Err(last.unwrap_or_else(nobody))
    }

    /// Something failed since it asked last: it may have been told wrong, and asks another broker.
    pub(super) fn doubt(&mut self) {
        self.connection = None;
    }

    /// The connection, for questions that any broker answers.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }
}

/// Whom to ask.
enum Whom {
    Connected(Connection),
    At(Arc<str>),
}

async fn ask_at(access: &Access, whom: Whom, asked: &[TopicPartition]) -> Result<(Connection, Metadata), Fault> {
    let mut connection = match whom {
        Whom::Connected(connection) => connection,
        Whom::At(address) => Connection::open(access, &address).await?,
    };
    let version = connection.who().version(access, ApiKey::Metadata, metadata::VERSIONS.0, metadata::VERSIONS.1)?;
    let answer = connection.call(access, version, &metadata::question(asked)).await?;
    let said = metadata::read(&answer, version).map_err(|strange| connection.strange(access, strange))?;
    // one that is starting knows nobody, and not even itself
    if said.brokers.is_empty() {
        return Err(access.fault(FaultClass::System, &connection.who().address, "it knows no broker"));
    }
    Ok((connection, said))
}
