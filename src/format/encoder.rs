//! Making batches of records.

use bytes::{BufMut, Bytes};

use super::header::COUNTED;
use super::{Codec, HEADER_BYTES, Header, MOST, Malformed, RawBatch, compression};

/// Why no batch could be made of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// There is no record. Brokers refuse such batches.
    #[error("a batch of no records")]
    Empty,
    /// The records take more than what could be opened again.
    #[error("{bytes} bytes of records, which are more than fit into a batch")]
    TooLarge {
        /// What they take before compression.
        bytes: usize,
    },
    /// The compressor failed.
    #[error("cannot compress with {codec}: {reason}")]
    Codec {
        /// What they were to be compressed with.
        codec: Codec,
        /// What the compressor says.
        reason: String,
    },
}

/// Makes a batch of records, as a producer does: offsets count from 0, timestamps are the producer's, and nobody is said
/// to write it before [`RawBatch::header_for`] does.
#[derive(Clone, Debug)]
pub struct Encoder {
    codec: Codec,
    records: Vec<u8>,
    count: usize,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Encoder {
    /// What it compresses with.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Without records.
    pub fn new(codec: Codec) -> Self {
        Self { codec, records: Vec::new(), count: 0, base_timestamp: -1, max_timestamp: -1 }
    }

    /// Adds all records of a batch. Where it can't be opened, some of them may have been added.
    pub fn push_all(&mut self, batch: &RawBatch) -> Result<(), Malformed> {
        batch.decode(|record| self.push(record.timestamp, record.key, record.value, record.headers()))
    }

    /// Adds a record. Its headers are gone through twice.
    pub fn push<'h, H>(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: H)
    where
        H: Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp, timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        // a difference as in two's complement, which any two timestamps have
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = signed(self.count);
        let (header_count, header_bytes) = headers
            .clone()
            .fold((0, 0), |(n, bytes), (name, value)| (n + 1, bytes + size_of(Some(name)) + size_of(value)));
        let numbers = varint_bytes(timestamp_delta) + varint_bytes(offset_delta) + varint_bytes(header_count);
        let length = 1 + numbers + size_of(key) + size_of(value) + header_bytes;

        put_varint(&mut self.records, signed(length));
        self.records.put_i8(0);
        put_varint(&mut self.records, timestamp_delta);
        put_varint(&mut self.records, offset_delta);
        put_nullable(&mut self.records, key);
        put_nullable(&mut self.records, value);
        put_varint(&mut self.records, header_count);
        for (name, value) in headers {
            put_nullable(&mut self.records, Some(name));
            put_nullable(&mut self.records, value);
        }
        self.count += 1;
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, header included, if it were not compressed.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch.
    pub fn finish(self) -> Result<RawBatch, EncodeError> {
        if self.count == 0 {
            return Err(EncodeError::Empty);
        }
        let (codec, bytes) = (self.codec, self.records.len());
        let too_large = || EncodeError::TooLarge { bytes };
        if bytes > MOST {
            return Err(too_large());
        }
        let count = i32::try_from(self.count).map_err(|_| too_large())?;
        let payload = compression::close(codec, self.records)
            .map_err(|error| EncodeError::Codec { codec, reason: error.to_string() })?;
        let length = i32::try_from(payload.len()).ok().and_then(|length| length.checked_add(COUNTED));
        let header = Header {
            base_offset: 0,
            length: length.ok_or_else(too_large)?,
            leader_epoch: -1,
            crc: 0,
            attributes: codec.bits(),
            last_offset_delta: count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count,
        };
        Ok(RawBatch::new(header, Bytes::from(payload)))
    }
}

/// Nothing in memory has more bytes than this has room for.
fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// A length or -1, and the bytes; lengths that fit 32 bits are written as a number of 32 bits would be.
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| signed(bytes.len())));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = zigzag(number);
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push((rest & 0x7f) as u8);
}

fn varint_bytes(number: i64) -> usize {
    let bits = u64::BITS - (zigzag(number) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn size_of(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_bytes(signed(bytes.len())) + bytes.len())
}
