//! Record batches as a broker has them, asked for over a socket of our own: what is passed on can be compared byte for byte.

use std::io::{Read, Write};
use std::net::TcpStream;

use anabranch::format::RawBatch;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, FetchResponse, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::topic::Topic;

const VERSION: i16 = 4;

/// All batches of a partition, in order.
pub fn batches(topic: &Topic, partition: i32) -> Vec<RawBatch> {
    let mut socket = TcpStream::connect(&topic.bootstrap).unwrap();
    let mut all: Vec<RawBatch> = Vec::new();
    loop {
        let from = all.last().map_or(0, |batch| batch.header().next_offset());
        let mut records = fetch(&mut socket, &topic.name, partition, from);
        let before = all.len();
        while let Some(batch) = RawBatch::split_from(&mut records).unwrap() {
            if batch.header().next_offset() > from {
                all.push(batch);
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

fn fetch(socket: &mut TcpStream, topic: &str, partition: i32, from: i64) -> Bytes {
    let asked =
        FetchPartition::default().with_partition(partition).with_fetch_offset(from).with_partition_max_bytes(4 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![asked]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_max_bytes(4 << 20)
        .with_topics(vec![topic]);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Fetch as i16)
        .with_request_api_version(VERSION)
        .with_client_id(Some(StrBytes::from_static_str("raw")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, ApiKey::Fetch.request_header_version(VERSION)).unwrap();
    request.encode(&mut bytes, VERSION).unwrap();
    socket.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
    socket.write_all(&bytes).unwrap();
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).unwrap();
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, 0).unwrap();
    let answer = FetchResponse::decode(&mut answer, VERSION).unwrap();
    let said = &answer.responses[0].partitions[0];
    assert_eq!(said.error_code, 0, "{said:?}");
    said.records.clone().unwrap_or_default()
}
