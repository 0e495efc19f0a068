//! Questions to a cluster, and the few things that are changed there: topics, partitions, offsets by time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::client::{Context, SERVE, control_config};
use super::fault_map::class_of;
use super::patience::patiently;
use super::{TopicIds, ffi};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::limits::TopicLimits;
use crate::domain::topic_partition::TopicPartition;
use crate::plan::ClusterSpec;

/// The longest that one question waits for its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// In between, the client's own errors are looked at: a wrong password need not wait for the time-out.
const SLICE: Duration = Duration::from_secs(2);

/// The settings of a topic that change what a reader of the target sees or what the target takes.
const SETTINGS: [&str; 6] = [
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.type",
    "retention.bytes",
    "retention.ms",
];

/// A topic of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// How many partitions it has.
    pub partitions: i32,
    /// Why it can't be used, where that is so.
    pub fault: Option<Fault>,
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug)]
pub enum OffsetAt {
    /// The first that is still there.
    Earliest,
    /// The end; the last stable offset, as only committed records are read.
    Latest,
    /// The first record at or after this time (milliseconds since 1970), else the end.
    Timestamp(i64),
}

/// Offsets, and why there is none where there is none.
pub type SomeOffsets = (HashMap<TopicPartition, i64>, BTreeMap<TopicPartition, Fault>);

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Its settings, name → value.
    pub settings: BTreeMap<String, String>,
}

/// A client for questions to one cluster. Its calls block.
pub struct Admin {
    alias: String,
    consumer: BaseConsumer<Context>,
    client: AdminClient<Context>,
}

impl Admin {
    /// A client for `cluster`; it connects when it is first asked.
    pub fn open(cluster: &ClusterSpec) -> Result<Self, Fault> {
        let config = control_config(cluster);
        let context = || Context::new(cluster, None);
        let doing = "the client can't be made";
        let consumer = BaseConsumer::from_config_and_context(&config, context())
            .map_err(|error| context().fault(doing, &error))?;
        let client =
            AdminClient::from_config_and_context(&config, context()).map_err(|error| context().fault(doing, &error))?;
        Ok(Self { alias: cluster.alias.clone(), consumer, client })
    }

    /// All topics of the cluster by name.
    pub fn topics(&self) -> Result<BTreeMap<String, TopicInfo>, Fault> {
        let metadata = self.metadata()?;
        let topics = metadata.topics().iter().map(|topic| {
            let fault = topic.error().map(|code| self.topic_fault(topic.name(), code.into()));
            let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
            (topic.name().to_owned(), TopicInfo { partitions, fault })
        });
        Ok(topics.collect())
    }

    /// The ids of these topics, which tell one from another of the same name; `None` where the cluster tells no ids. Those that are
    /// not there are left out.
    pub fn topic_ids<'a>(&self, topics: impl Iterator<Item = &'a str>) -> Result<TopicIds, Fault> {
        let topics: Vec<&str> = topics.collect();
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let doing = "ids of topics can't be read";
        // the controller is asked for them, and who that is the client finds out every five minutes: one that is down would
        // be waited for that long. Whoever answers knows one that is up.
        let answer = self.client.inner().fetch_metadata(topics.first().copied(), TIMEOUT);
        let cluster = answer.map_err(|error| self.fault(doing, &error))?;
        let controller = ffi::controller(self.client.inner());
        if controller >= 0 && cluster.brokers().iter().all(|broker| broker.id() != controller) {
            // nobody can be asked, as in the demo's clusters, which have none
            let there = self.topics()?;
            return Ok(topics
                .iter()
                .filter(|topic| there.contains_key(**topic))
                .map(|topic| ((*topic).to_owned(), None))
                .collect());
        }
        ffi::topic_ids(self.client.inner(), &topics, TIMEOUT).map_err(|error| self.fault(doing, &error))
    }

    fn metadata(&self) -> Result<Metadata, Fault> {
        let doing = "its topics can't be listed";
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let error = match self.consumer.fetch_metadata(None, SLICE) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            let fault = self.fault(doing, &error);
            if fault.class == FaultClass::Config || Instant::now() >= deadline {
                return Err(fault);
            }
        }
    }

    /// The offset of each partition at the given place.
    pub fn offsets(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<HashMap<TopicPartition, i64>, Fault> {
        let all = || {
            let (found, silent) = self.offsets_of_some(partitions, at)?;
            silent.into_iter().next().map_or(Ok(found), |(_, fault)| Err(fault))
        };
        let rest = |pause| {
            self.consumer.poll(pause);
            // the client asks those whom it takes for the leaders
            drop(self.consumer.fetch_metadata(None, SLICE));
        };
        patiently(rest, all)
    }

    /// The same where the cluster tells it; and where it does not now, as a partition has no leader, why.
    pub fn offsets_of_some(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<SomeOffsets, Fault> {
        let asked = self.list_offsets(partitions, at);
        let Err(fault) = &asked else { return asked };
        if fault.class != FaultClass::System {
            return asked;
        }
        // in a client that has not heard of it yet, one that has lost its leader is waited for, and all others with it
        let leaderless = self.leaderless()?;
        let (without, others): (Vec<_>, Vec<_>) = partitions.iter().cloned().partition(|tp| leaderless.contains(tp));
        if without.is_empty() || others.is_empty() {
            return asked;
        }
        let (found, mut silent) = self.list_offsets(&others, at)?;
        silent.extend(without.into_iter().map(|partition| {
            let reason = format!("cluster {}: {partition} has no leader", self.alias);
            (partition, Fault::new(FaultClass::System, reason))
        }));
        Ok((found, silent))
    }

    /// Partitions that nobody leads now.
    fn leaderless(&self) -> Result<HashSet<TopicPartition>, Fault> {
        let metadata = self.metadata()?;
        let of_topics = metadata.topics().iter().flat_map(|topic| {
            let without = topic.partitions().iter().filter(|partition| partition.leader() < 0);
            without.map(|partition| TopicPartition::new(topic.name(), partition.id()))
        });
        Ok(of_topics.collect())
    }

    /// Some at a time: librdkafka goes through all that it is asked for once for each of them.
    fn list_offsets(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<SomeOffsets, Fault> {
        const AT_ONCE: usize = 100;
        let (mut found, mut silent) = SomeOffsets::default();
        for some in partitions.chunks(AT_ONCE) {
            let (offsets, without) = self.list_offsets_at_once(some, at)?;
            found.extend(offsets);
            silent.extend(without);
        }
        Ok((found, silent))
    }

    fn list_offsets_at_once(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<SomeOffsets, Fault> {
        let doing = match partitions {
            [one] => format!("offsets of {one} can't be listed"),
            _ => "offsets can't be listed".to_owned(),
        };
        // the protocol asks for "earliest" and "latest" as times of -2 and -1
        let time = match at {
            OffsetAt::Earliest => Offset::Beginning,
            OffsetAt::Latest => Offset::End,
            OffsetAt::Timestamp(time) => Offset::Offset(time),
        };
        let (mut found, mut silent) = SomeOffsets::default();
        let mut query = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            let added = query.add_partition_offset(&partition.topic, partition.partition, time);
            added.map_err(|error| self.fault(&doing, &error))?;
        }
        let answer = self.consumer.offsets_for_times(query, TIMEOUT).map_err(|error| self.fault(&doing, &error))?;
        let mut later = Vec::new();
        for element in answer.elements() {
            let partition = TopicPartition::new(element.topic(), element.partition());
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => drop(found.insert(partition, offset)),
                (Ok(()), _) => later.push(partition),
                (Err(error), _) => {
                    let fault = self.fault(&format!("offsets of {partition} can't be listed"), &error);
                    if fault.class != FaultClass::System {
                        return Err(fault);
                    }
                    silent.insert(partition, fault);
                }
            }
        }
        // no record at or after that time: the end
        if matches!(at, OffsetAt::Timestamp(_)) {
            let (ends, without) = self.list_offsets(&later, OffsetAt::Latest)?;
            found.extend(ends);
            silent.extend(without);
        } else {
            for partition in later {
                let reason = format!("cluster {}: {doing}: no answer for {partition}", self.alias);
                silent.insert(partition, Fault::new(FaultClass::System, reason));
            }
        }
        Ok((found, silent))
    }

    /// The settings of a topic that matter on a target, where they are not Kafka's defaults.
    ///
    /// A target never stamps records itself (`LogAppendTime`): a copied record keeps its timestamp.
    pub fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, Fault> {
        let doing = format!("settings of topic {topic} can't be read");
        let results = block_on(self.client.describe_configs([&ResourceSpecifier::Topic(topic)], &options()))
            .map_err(|error| self.fault(&doing, &error))?;
        let mut settings = BTreeMap::new();
        for result in results {
            let resource = result.map_err(|code| self.topic_fault(topic, code))?;
            for entry in resource.entries {
                let default = entry.source == ConfigSource::Default;
                if SETTINGS.contains(&entry.name.as_str())
                    && !default
                    && let Some(value) = entry.value
                {
                    settings.insert(entry.name, value);
                }
            }
        }
        if let Some(stamp) = settings.get_mut("message.timestamp.type") {
            "CreateTime".clone_into(stamp);
        }
        Ok(settings)
    }

    /// How long the coordinator waits for a sign of life of a member of this group, where it shares out partitions by itself
    /// (`group.protocol=consumer`). `None` where it does not, or does not tell.
    pub fn session_of_group(&self, group: &str) -> Result<Option<Duration>, Fault> {
        let doing = format!("settings of group {group} can't be read");
        let results = block_on(self.client.describe_configs([&ResourceSpecifier::Group(group)], &options()))
            .map_err(|error| self.fault(&doing, &error))?;
        let told = results.into_iter().filter_map(Result::ok);
        let session =
            told.flat_map(|resource| resource.entries).find(|entry| entry.name == "consumer.session.timeout.ms");
        let millis = session.and_then(|entry| entry.value).and_then(|value| value.parse().ok());
        Ok(millis.map(Duration::from_millis))
    }

    /// What these topics take, asked for together. Those that the cluster does not tell about are left out.
    pub fn limits(&self, topics: &[&str]) -> Result<BTreeMap<String, TopicLimits>, Fault> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        // not worth a long wait: a cluster that does not tell is written all the same
        let options = AdminOptions::new().request_timeout(Some(SLICE)).operation_timeout(Some(SLICE));
        let results = block_on(self.client.describe_configs(&resources, &options))
            .map_err(|error| self.fault("settings of topics can't be read", &error))?;
        Ok(results.into_iter().filter_map(|result| limits_of(&result.ok()?)).collect())
    }

    /// Waits until the cluster answers, or the time is up: whether it did. The client connects again by itself meanwhile.
    /// What only a change elsewhere can mend, as a wrong password, is not waited for.
    pub fn wait_until_it_answers(cluster: &ClusterSpec, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        // a client of its own knows no topics, so it asks for none
        let context = Context::new(cluster, None);
        let Ok(client) = ffi::Consumer::new(&control_config(cluster), context, Box::new(|| {})) else {
            return false;
        };
        loop {
            let slice = deadline.saturating_duration_since(Instant::now()).min(SLICE);
            let Err(error) = client.ask_for_brokers(slice) else { return true };
            client.serve();
            let fault = client.context().fault("it does not answer", &error);
            if fault.class == FaultClass::Config || Instant::now() >= deadline {
                return false;
            }
        }
    }

    /// Creates a topic with the cluster's default replication. That it is there already is fine.
    pub fn create_topic(&self, spec: &NewTopicSpec) -> Result<(), Fault> {
        let mut topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(-1));
        for (name, value) in &spec.settings {
            topic = topic.set(name, value);
        }
        let results = block_on(self.client.create_topics([&topic], &options()));
        self.outcome(&format!("topic {} can't be created", spec.name), &spec.name, results)
    }

    /// Grows a topic to `partitions`.
    pub fn grow_topic(&self, name: &str, partitions: i32) -> Result<(), Fault> {
        let count = usize::try_from(partitions).unwrap_or(0);
        let grown = NewPartitions::new(name, count);
        let results = block_on(self.client.create_partitions([&grown], &options()));
        self.outcome(&format!("topic {name} can't be grown to {partitions} partitions"), name, results)
    }

    fn outcome(
        &self,
        doing: &str,
        topic: &str,
        results: Result<Vec<rdkafka::admin::TopicResult>, KafkaError>,
    ) -> Result<(), Fault> {
        for result in results.map_err(|error| self.fault(doing, &error))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.topic_fault(topic, code)),
            }
        }
        Ok(())
    }

    fn topic_fault(&self, topic: &str, code: RDKafkaErrorCode) -> Fault {
        Fault::new(class_of(code), format!("cluster {}: topic {topic}: {code}", self.alias))
    }

    fn fault(&self, doing: &str, error: &KafkaError) -> Fault {
        self.serve();
        self.consumer.context().fault(doing, error)
    }

    /// Log lines and errors pile up in the client until somebody takes them. With no time at all, only one is taken.
    pub fn serve(&self) {
        while self.consumer.poll(SERVE).is_some() {}
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admin({})", self.alias)
    }
}

/// A topic's name and what it takes; `None` where something is not told.
fn limits_of(resource: &ConfigResource) -> Option<(String, TopicLimits)> {
    let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { return None };
    let value = |key: &str| resource.get(key)?.value.as_deref();
    let max_bytes = value("max.message.bytes")?.parse().ok()?;
    let compacted = value("cleanup.policy")?.split(',').any(|policy| policy.trim() == "compact");
    Some((name.clone(), TopicLimits { max_bytes, compacted }))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::admin::ConfigEntry;

    fn resource(entries: &[(&str, Option<&str>)]) -> ConfigResource {
        let entry = |(name, value): &(&str, Option<&str>)| ConfigEntry {
            name: (*name).to_owned(),
            value: value.map(str::to_owned),
            source: ConfigSource::Default,
            is_read_only: false,
            is_default: true,
            is_sensitive: false,
        };
        let specifier = OwnedResourceSpecifier::Topic("letters".to_owned());
        ConfigResource { specifier, entries: entries.iter().map(entry).collect() }
    }

    #[test]
    fn a_topics_limits_are_told_or_it_is_left_out() {
        let of = |size, policy| limits_of(&resource(&[("max.message.bytes", size), ("cleanup.policy", policy)]));
        let limits = |max_bytes, compacted| Some(("letters".to_owned(), TopicLimits { max_bytes, compacted }));
        assert_eq!(of(Some("1048588"), Some("delete")), limits(1_048_588, false));
        assert_eq!(of(Some("12"), Some("compact")), limits(12, true));
        assert_eq!(of(Some("12"), Some("delete, compact")), limits(12, true));
        assert_eq!(of(None, Some("delete")), None);
        assert_eq!(of(Some("many"), Some("delete")), None);
        assert_eq!(of(Some("12"), None), None);
        assert_eq!(limits_of(&resource(&[])), None);
    }
}
