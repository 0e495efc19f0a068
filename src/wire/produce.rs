//! One request that writes: a batch for each of several partitions. Payloads are not copied into it: they go out beside what is
//! written here, in one call of the system.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::cursor::{Cursor, Strange};
use crate::domain::topic_partition::TopicPartition;
use crate::format::{HEADER_BYTES, RawBatch};

/// The versions in which it is spoken of here. They are the same but for what answers say: single records that are to blame since 8.
pub(super) const VERSIONS: (i16, i16) = (3, 8);
/// How long a broker may wait for its replicas before it says that it does not know.
const REPLICAS_MS: i32 = 30_000;
/// So many slices are handed to the system at a time.
const SLICES: usize = 64;

/// A request under construction.
pub(super) struct Outgoing {
    /// Everything but payloads.
    own: BytesMut,
    /// Where each payload belongs into that, in rising order.
    payloads: Vec<(usize, Bytes)>,
    payload_bytes: usize,
}

/// What goes to a partition.
pub(super) struct Part {
    pub(super) partition: TopicPartition,
    pub(super) header: [u8; HEADER_BYTES],
    pub(super) batch: RawBatch,
}

impl Outgoing {
    /// A request behind its header. `parts` come topic by topic.
    pub(super) fn new(header: BytesMut, parts: &[Part]) -> Self {
        let mut request = Self { own: header, payloads: Vec::with_capacity(parts.len()), payload_bytes: 0 };
        request.own.put_i16(-1); // no transaction
        request.own.put_i16(-1); // all replicas
        request.own.put_i32(REPLICAS_MS);
        let topics = parts.chunk_by(|a, b| a.partition.topic == b.partition.topic);
        request.count(topics.clone().count());
        for topic in topics {
            let name = topic.first().map_or("", |part| &*part.partition.topic);
            request.own.put_i16(i16::try_from(name.len()).unwrap_or(i16::MAX));
            request.own.put_slice(name.as_bytes());
            request.count(topic.len());
            for part in topic {
                request.add(part);
            }
        }
        super::connection::close(&mut request.own, request.payload_bytes);
        request
    }

    fn count(&mut self, count: usize) {
        self.own.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
    }

    fn add(&mut self, part: &Part) {
        self.own.put_i32(part.partition.partition);
        self.count(part.batch.total_bytes());
        self.own.put_slice(&part.header);
        let payload = part.batch.payload();
        self.payload_bytes += payload.len();
        self.payloads.push((self.own.len(), payload.clone()));
    }

    /// Bytes on the wire.
    pub(super) fn bytes(&self) -> usize {
        self.own.len() + self.payload_bytes
    }

    /// Sends it.
    pub(super) async fn send(&self, outlet: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut slices = Vec::with_capacity(2 * self.payloads.len() + 1);
        let mut at = 0;
        for (behind, payload) in &self.payloads {
            slices.push(IoSlice::new(&self.own[at..*behind]));
            slices.push(IoSlice::new(payload));
            at = *behind;
        }
        slices.push(IoSlice::new(&self.own[at..]));
        let mut left = &mut slices[..];
        // empty ones must not be the only ones that are shown: nothing written would be taken for the end
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let shown = left.len().min(SLICES);
            let written = outlet.write_vectored(&left[..shown]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, written);
        }
        outlet.flush().await
    }
}

/// An answer to a request that wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// What became of each partition's batch.
    pub(super) codes: HashMap<TopicPartition, i16>,
    /// For how long the broker wants quiet.
    pub(super) throttle: Duration,
}

/// Reads an answer, behind its header.
pub(super) fn read(answer: &[u8], version: i16) -> Result<Answer, Strange> {
    let mut answer = Cursor::new(answer, false);
    let mut codes = HashMap::new();
    for _ in 0..answer.count()? {
        let topic: Arc<str> = answer.text()?.unwrap_or_default().into();
        for _ in 0..answer.count()? {
            let (partition, code) = partition(&mut answer, version)?;
            codes.insert(TopicPartition::new(topic.clone(), partition), code);
        }
    }
    let throttle = Duration::from_millis(u64::try_from(answer.i32()?).unwrap_or(0));
    Ok(Answer { codes, throttle })
}

fn partition(answer: &mut Cursor<'_>, version: i16) -> Result<(i32, i16), Strange> {
    let (partition, code) = (answer.i32()?, answer.i16()?);
    answer.i64()?; // the offset of its first record
    answer.i64()?; // when it was written, where the broker stamps that
    if version >= 5 {
        answer.i64()?; // where the log begins
    }
    if version >= 8 {
        // of one batch, single records are not to blame alone: it is refused as a whole
        for _ in 0..answer.count()? {
            answer.i32()?;
            answer.text()?;
        }
        answer.text()?;
    }
    Ok((partition, code))
}

#[cfg(test)]
mod tests {
    use super::super::cursor::damaged;
    use super::*;
    use kafka_protocol::messages::produce_response::{
        BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
    };
    use kafka_protocol::messages::{ProduceResponse, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    fn encoded(version: i16) -> Vec<u8> {
        let text = StrBytes::from_static_str;
        let taken = PartitionProduceResponse::default().with_index(1).with_base_offset(55);
        let mut refused = PartitionProduceResponse::default().with_index(2).with_error_code(87);
        if version >= 8 {
            refused.record_errors = vec![BatchIndexAndErrorMessage::default().with_batch_index(3)];
            refused.error_message = Some(text("no key"));
        }
        let topic = |name| {
            let topic = TopicProduceResponse::default().with_name(TopicName(text(name)));
            topic.with_partition_responses(vec![taken.clone(), refused.clone()])
        };
        let response = ProduceResponse::default().with_responses(vec![topic("a"), topic("b")]);
        let mut bytes = BytesMut::new();
        response.with_throttle_time_ms(70).encode(&mut bytes, version).unwrap();
        bytes.to_vec()
    }

    #[test]
    fn answers_are_understood_in_each_version() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let answer = read(&encoded(version), version).unwrap();
            let code = |topic, partition| answer.codes[&TopicPartition::new(Arc::<str>::from(topic), partition)];
            assert_eq!([code("a", 1), code("a", 2), code("b", 1), code("b", 2)], [0, 87, 0, 87], "{version}");
            assert_eq!(answer.throttle, Duration::from_millis(70), "{version}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_answer_is_an_answer_or_an_error(
            at in 0..200_usize, with in any::<u8>(), end in 0..200_usize, version in VERSIONS.0..=VERSIONS.1,
        ) {
            for answer in damaged(encoded(version), at, with, end) {
                let _ = read(&answer, version);
            }
        }
    }
}
