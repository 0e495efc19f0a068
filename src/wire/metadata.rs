//! The question who leads what, and its answer.

use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::cursor::{Cursor, Strange};
use super::directory::{BrokerId, Leader, Led, TopicId};
use crate::domain::topic_partition::TopicPartition;

/// The versions in which it is spoken of here: since 4, asking makes no topic.
pub(super) const VERSIONS: (i16, i16) = (4, 12);
/// From this one on lengths are varints, and everything may have tags.
const FLEXIBLE: i16 = 9;

/// What a broker says of its cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Brokers, and their `host:port`.
    pub(super) brokers: Vec<(BrokerId, Arc<str>)>,
    pub(super) topics: Vec<Topic>,
}

/// What it says of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) code: i16,
    /// 0 where it does not tell.
    pub(super) id: TopicId,
    pub(super) partitions: Vec<(i32, Led)>,
}

/// Asks for these partitions' topics.
pub(super) fn question(asked: &[TopicPartition]) -> MetadataRequest {
    let mut names: Vec<&str> = asked.iter().map(|partition| &*partition.topic).collect();
    names.sort_unstable();
    names.dedup();
    let topic =
        |name: &str| MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))));
    MetadataRequest::default()
        .with_topics(Some(names.into_iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}

/// Reads an answer, behind its header.
pub(super) fn read(answer: &[u8], version: i16) -> Result<Metadata, Strange> {
    let mut answer = Cursor::new(answer, version >= FLEXIBLE);
    answer.i32()?; // for how long it throttles
    let mut metadata = Metadata::default();
    for _ in 0..answer.count()? {
        metadata.brokers.push(broker(&mut answer)?);
    }
    answer.text()?; // the cluster's id
    answer.i32()?; // its controller
    for _ in 0..answer.count()? {
        metadata.topics.extend(topic(&mut answer, version)?);
    }
    Ok(metadata)
}

fn broker(answer: &mut Cursor<'_>) -> Result<(BrokerId, Arc<str>), Strange> {
    let id = answer.i32()?;
    let host = answer.text()?.unwrap_or_default();
    let port = answer.i32()?;
    answer.text()?; // its rack
    answer.skip_tags()?;
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Ok((id, address.into()))
}

/// `None` for one whose name is not told.
fn topic(answer: &mut Cursor<'_>, version: i16) -> Result<Option<Topic>, Strange> {
    let code = answer.i16()?;
    let name = answer.text()?.map(Arc::from);
    let id = if version >= 10 { answer.u128()? } else { 0 };
    answer.i8()?; // whether it is the cluster's own
    let mut partitions = Vec::new();
    for _ in 0..answer.count()? {
        partitions.push(partition(answer, version)?);
    }
    if version >= 8 {
        answer.i32()?; // what we may do with it
    }
    answer.skip_tags()?;
    Ok(name.map(|name| Topic { name, code, id, partitions }))
}

fn partition(answer: &mut Cursor<'_>, version: i16) -> Result<(i32, Led), Strange> {
    let code = answer.i16()?;
    let partition = answer.i32()?;
    let broker = answer.i32()?;
    let epoch = if version >= 7 { answer.i32()? } else { -1 };
    // replicas, those in sync, and those whose brokers are gone
    for _ in 0..if version >= 5 { 3 } else { 2 } {
        answer.skip_numbers()?;
    }
    answer.skip_tags()?;
    Ok((partition, if broker >= 0 { Led::By(Leader { broker, epoch }) } else { Led::Nobody(code) }))
}

#[cfg(test)]
mod tests {
    use super::super::cursor::damaged;
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{BrokerId as Node, MetadataResponse};
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn encoded(version: i16) -> Vec<u8> {
        let text = StrBytes::from_static_str;
        let nodes = |ids: &[i32]| ids.iter().copied().map(Node).collect::<Vec<_>>();
        let partition = MetadataResponsePartition::default().with_partition_index(3).with_leader_id(Node(2));
        let partition = partition.with_replica_nodes(nodes(&[1, 2, 3])).with_isr_nodes(nodes(&[2]));
        let partition = partition.with_leader_epoch(if version >= 7 { 9 } else { -1 });
        let nobody = MetadataResponsePartition::default().with_partition_index(4).with_leader_id(Node(-1));
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text("orders"))))
            .with_topic_id(Uuid::from_u128(if version >= 10 { 77 } else { 0 }))
            .with_partitions(vec![partition, nobody.with_error_code(5)]);
        let broker = MetadataResponseBroker::default().with_port(9092).with_rack(Some(text("r")));
        let brokers = vec![
            broker.clone().with_node_id(Node(1)).with_host(text("a.example")),
            broker.with_node_id(Node(2)).with_host(text("::1")),
        ];
        let response = MetadataResponse::default().with_brokers(brokers).with_cluster_id(Some(text("c")));
        let mut bytes = BytesMut::new();
        response.with_topics(vec![topic]).encode(&mut bytes, version).unwrap();
        bytes.to_vec()
    }

    #[test]
    fn answers_are_understood_in_each_version() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let read = read(&encoded(version), version).unwrap();
            assert_eq!(read.brokers, [(1, "a.example:9092".into()), (2, "[::1]:9092".into())], "{version}");
            let leader = Leader { broker: 2, epoch: if version >= 7 { 9 } else { -1 } };
            let id = if version >= 10 { 77 } else { 0 };
            let partitions = vec![(3, Led::By(leader)), (4, Led::Nobody(5))];
            assert_eq!(read.topics, [Topic { name: "orders".into(), code: 0, id, partitions }], "{version}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_answer_is_an_answer_or_an_error(
            at in 0..400_usize, with in any::<u8>(), end in 0..400_usize, version in VERSIONS.0..=VERSIONS.1,
        ) {
            for answer in damaged(encoded(version), at, with, end) {
                let _ = read(&answer, version);
            }
        }
    }
}
