//! One request that writes: a batch for each of several partitions. Payloads are not copied into it: they go out beside what is
//! written here, in one call of the system.

use std::io::{self, IoSlice};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

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
