//! The header of a record batch.

use bytes::{Buf, BufMut};

use super::{Codec, Malformed};

/// Bytes of a batch before its payload.
pub const HEADER_BYTES: usize = 61;
/// Bytes before what the header's length counts: the base offset and the length itself.
const BEFORE_LENGTH: usize = 12;
/// Bytes of the header that its length counts, which is the least that a length can be.
pub(super) const COUNTED: i32 = 49;
/// Where the magic is, in every format.
const MAGIC_AT: usize = 16;
pub(super) const MAGIC: i8 = 2;
/// Where the bytes begin that the checksum is of.
pub(super) const CHECKED_FROM: usize = 21;

/// The timestamp is when the broker appended the batch.
const APPEND_TIME: i16 = 1 << 3;
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
/// The base timestamp says when tombstones may go, too.
pub(super) const DELETE_HORIZON: i16 = 1 << 6;

/// The header of a record batch, as it is in the bytes. The magic is not in it: it is always 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The offset that the offset deltas of records are counted from.
    pub base_offset: i64,
    /// Bytes after this field: 49 of the header, and the payload.
    pub length: i32,
    /// The epoch of the partition's leader that appended the batch; -1 from a producer.
    pub leader_epoch: i32,
    /// CRC-32C of all bytes from the attributes on.
    pub crc: u32,
    /// Bits: 0 to 2 the codec, 3 append time, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: i16,
    /// What the last offset covered is above the base offset, whether a record is still there or not.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 that the timestamp deltas of records are counted from; -1 for none.
    pub base_timestamp: i64,
    /// The latest timestamp of a record, or when the batch was appended; -1 for none.
    pub max_timestamp: i64,
    /// The idempotent producer; -1 for none.
    pub producer_id: i64,
    /// The epoch of the producer; -1 for none.
    pub producer_epoch: i16,
    /// The producer's sequence number of the first record; -1 for none.
    pub base_sequence: i32,
    /// How many records there are: none in a batch that compaction left for its sequence numbers.
    pub count: i32,
}

impl Header {
    /// Reads the header at the front of `bytes`, whatever follows it. The magic is looked at first, where there are
    /// enough bytes for it: messages of the old format may be shorter than a header.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.get(MAGIC_AT).map(|magic| magic.cast_signed()) {
            None | Some(MAGIC) => {}
            Some(old @ (0 | 1)) => return Err(Malformed::OldFormat(old)),
            Some(unknown) => return Err(Malformed::UnknownFormat(unknown)),
        }
        let header = Self::read(bytes.first_chunk().ok_or(Malformed::Short(bytes.len()))?);
        header.check()?;
        Ok(header)
    }

    /// The fields in their order. Getters of `bytes` panic at the end, which is not reached.
    fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut rest = &bytes[..];
        let (base_offset, length, leader_epoch) = (rest.get_i64(), rest.get_i32(), rest.get_i32());
        rest.advance(1);
        Self {
            base_offset,
            length,
            leader_epoch,
            crc: rest.get_u32(),
            attributes: rest.get_i16(),
            last_offset_delta: rest.get_i32(),
            base_timestamp: rest.get_i64(),
            max_timestamp: rest.get_i64(),
            producer_id: rest.get_i64(),
            producer_epoch: rest.get_i16(),
            base_sequence: rest.get_i32(),
            count: rest.get_i32(),
        }
    }

    /// That the numbers that others are computed from can be.
    fn check(&self) -> Result<(), Malformed> {
        let base_offset = self.base_offset;
        if self.length < COUNTED {
            return Err(Malformed::Length { base_offset, length: self.length });
        }
        let field = |field, value| Err(Malformed::Field { base_offset, field, value });
        if base_offset < 0 || base_offset > i64::MAX - i64::from(i32::MAX) - 1 {
            return field("baseOffset", base_offset);
        }
        if self.last_offset_delta < 0 {
            return field("lastOffsetDelta", self.last_offset_delta.into());
        }
        if self.count < 0 {
            return field("recordCount", self.count.into());
        }
        Ok(())
    }

    /// The header as it is written, with the checksum that is in it.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = &mut bytes[..];
        rest.put_i64(self.base_offset);
        rest.put_i32(self.length);
        rest.put_i32(self.leader_epoch);
        rest.put_i8(MAGIC);
        rest.put_u32(self.crc);
        rest.put_i16(self.attributes);
        rest.put_i32(self.last_offset_delta);
        rest.put_i64(self.base_timestamp);
        rest.put_i64(self.max_timestamp);
        rest.put_i64(self.producer_id);
        rest.put_i16(self.producer_epoch);
        rest.put_i32(self.base_sequence);
        rest.put_i32(self.count);
        bytes
    }

    /// Bytes of the whole batch, header included.
    pub fn total_bytes(&self) -> usize {
        BEFORE_LENGTH + usize::try_from(self.length).unwrap_or(0)
    }

    /// What the payload is compressed with.
    pub fn codec(&self) -> Result<Codec, Malformed> {
        Codec::of(self.attributes).ok_or(Malformed::Field {
            base_offset: self.base_offset,
            field: "attributes",
            value: self.attributes.into(),
        })
    }

    /// Whether the records belong to a transaction, which may have been aborted.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the records are the broker's own, such as the markers that end transactions.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether all records have the time at which the broker appended the batch.
    pub fn has_append_time(&self) -> bool {
        self.attributes & APPEND_TIME != 0
    }

    /// The offset after the last one covered.
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta) + 1)
    }

    /// Whether every offset covered has a record. Brokers refuse a producer's batch otherwise.
    pub fn is_dense(&self) -> bool {
        i64::from(self.last_offset_delta) + 1 == i64::from(self.count)
    }
}
