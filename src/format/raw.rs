//! Batches that are not opened unless somebody has to.

use bytes::{Buf, Bytes};
use crc32c::crc32c;

use super::checksum::Shift;
use super::header::{CHECKED_FROM, DELETE_HORIZON, TRANSACTIONAL};
use super::{HEADER_BYTES, Header, MOST, Malformed, Record, compression, record};

/// Who writes: what the broker knows an idempotent producer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The producer id that the broker gave.
    pub producer_id: i64,
    /// The epoch that it gave with it.
    pub epoch: i16,
}

/// A batch as it came: its header, and the bytes behind it, which all who write it share.
///
/// The payload is a part of the answer that it was split from, whose memory lives as long as any batch of it.
#[derive(Clone, Debug)]
pub struct RawBatch {
    header: Header,
    payload: Bytes,
    payload_crc: u32,
    shift: Shift,
}

impl RawBatch {
    /// A batch of a payload that is here made, whose checksum is not known yet.
    pub(super) fn new(header: Header, payload: Bytes) -> Self {
        let (payload_crc, shift) = (crc32c(&payload), Shift::by(payload.len()));
        let batch = Self { header, payload, payload_crc, shift };
        let crc = batch.crc_with(&header.to_bytes());
        Self { header: Header { crc, ..header }, ..batch }
    }

    /// Splits the next batch off the front of `bytes` and checks its checksum; the one pass over its payload. `None` if
    /// there is nothing, or only a part of a batch: brokers cut the last one of an answer. Without a batch, `bytes` stay
    /// as they are.
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Self>, Malformed> {
        let header = match Header::parse(bytes) {
            Err(Malformed::Short(_)) => return Ok(None),
            header => header?,
        };
        let total = header.total_bytes();
        if bytes.len() < total {
            return Ok(None);
        }
        let batch = Self::new(header, bytes.slice(HEADER_BYTES..total));
        if batch.header.crc != header.crc {
            let (said, found) = (header.crc, batch.header.crc);
            return Err(Malformed::Checksum { base_offset: header.base_offset, said, found });
        }
        bytes.advance(total);
        Ok(Some(batch))
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes behind the header, compressed as they are.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Bytes of the whole batch, header included.
    pub fn total_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The same, with a payload in memory of its own: not a part of what it came with.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { payload: Bytes::copy_from_slice(&self.payload), ..self }
    }

    /// The header to write the payload with, as a producer of that identity would: `sequence` is that of the first record.
    /// Neither offset, leader epoch nor transaction is kept, nor is the delete horizon; codec, timestamps and count are.
    pub fn header_for(&self, identity: Identity, sequence: i32) -> [u8; HEADER_BYTES] {
        let header = Header {
            base_offset: 0,
            leader_epoch: -1,
            attributes: self.header.attributes & !(TRANSACTIONAL | DELETE_HORIZON),
            producer_id: identity.producer_id,
            producer_epoch: identity.epoch,
            base_sequence: sequence,
            ..self.header
        };
        Header { crc: self.crc_with(&header.to_bytes()), ..header }.to_bytes()
    }

    /// The checksum of a header's part of it and the payload.
    fn crc_with(&self, header: &[u8; HEADER_BYTES]) -> u32 {
        self.shift.join(crc32c(&header[CHECKED_FROM..]), self.payload_crc)
    }

    /// Opens it and shows every record, in order. Records may have been shown before one turns out to be malformed.
    pub fn decode(&self, visit: impl FnMut(Record<'_>)) -> Result<(), Malformed> {
        self.decode_within(MOST, visit)
    }

    /// The same, if it opens to at most `most` bytes.
    pub(super) fn decode_within(&self, most: usize, visit: impl FnMut(Record<'_>)) -> Result<(), Malformed> {
        let codec = self.header.codec()?;
        // compaction leaves nothing at all behind the header, not what the codec makes of nothing
        if self.payload.is_empty() && self.header.count == 0 {
            return Ok(());
        }
        let opened = compression::open(codec, &self.payload, most)?;
        record::walk(&self.header, &opened, visit)
    }
}
