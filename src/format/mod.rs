//! Kafka's record batches of version 2 ("magic 2", since Kafka 0.11) as bytes.
//!
//! A batch is a header of [`HEADER_BYTES`] bytes and a payload: its records one after the other, compressed all at once.
//! Whoever forwards batches needs the header only ([`RawBatch::header_for`]); whoever looks at records opens the payload
//! ([`RawBatch::decode`]), and makes new batches with an [`Encoder`]. Numbers are big endian in the header, and zigzag
//! variable-length integers in records.
//!
//! What is older than Kafka 0.11 is read too, as far as to make batches of it ([`Message`]).
//!
//! All bytes come from outside: those that are no batch end in a [`Malformed`], not in a panic, and no payload opens to
//! more than [`MOST`] bytes.

mod checksum;
mod compression;
mod encoder;
mod header;
pub(crate) mod message;
mod raw;
mod record;
#[cfg(test)]
mod tests;

pub use compression::{Codec, MOST};
pub use encoder::{EncodeError, Encoder};
pub use header::{HEADER_BYTES, Header};
pub use message::{Message, Plain};
pub use raw::{Identity, RawBatch};
pub use record::{Headers, Record};

/// Bytes that are no record batch: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Messages of Kafka 0.10 or older: their magic, 0 or 1. What they are is for [`Message`] to say.
    #[error("messages of the old format {0}, not a record batch")]
    OldFormat(i8),
    /// A magic that is neither 2 nor an older one.
    #[error("the unknown format {0}, not a record batch of format 2")]
    UnknownFormat(i8),
    /// Not even a header: so many bytes.
    #[error("{0} bytes, fewer than a header has")]
    Short(usize),
    /// The header's length says that the batch ends before its header does, or is negative.
    #[error("the batch at offset {base_offset} says that it has a length of {length} bytes, fewer than its header")]
    Length {
        /// The offset that the batch says that it begins at.
        base_offset: i64,
        /// Its length as in the header: bytes after the length itself.
        length: i32,
    },
    /// A number of the header that no batch can have.
    #[error("the batch at offset {base_offset} has an impossible {field}: {value}")]
    Field {
        /// The offset that the batch says that it begins at.
        base_offset: i64,
        /// Kafka's name of the field.
        field: &'static str,
        /// What is there.
        value: i64,
    },
    /// The checksum is of other bytes.
    #[error("the batch at offset {base_offset} is damaged: its checksum is {found:08x}, and should be {said:08x}")]
    Checksum {
        /// The offset that the batch says that it begins at.
        base_offset: i64,
        /// The checksum in the header.
        said: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The payload cannot be decompressed.
    #[error("the payload is no {codec}: {reason}")]
    Compressed {
        /// What it should be compressed with.
        codec: Codec,
        /// What the decompressor says.
        reason: String,
    },
    /// The payload decompresses to more bytes than this.
    #[error("the payload opens to more than {most} bytes")]
    TooLarge {
        /// The most that is allowed.
        most: usize,
    },
    /// More records are promised than the opened payload has room for.
    #[error("{count} records are promised in {bytes} bytes")]
    Count {
        /// The header's record count.
        count: i32,
        /// Bytes of the opened payload.
        bytes: usize,
    },
    /// A record that is none.
    #[error("record {index}, at byte {byte} of the opened payload: {flaw}")]
    Record {
        /// Which record of the batch, counted from 0.
        index: i32,
        /// Where it begins in the opened payload.
        byte: usize,
        /// What is wrong with it.
        flaw: &'static str,
    },
    /// Bytes follow the last record.
    #[error("{bytes} bytes follow the last record")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A message of an old format that is none.
    #[error("the message of an old format at offset {offset}: {flaw}")]
    Message {
        /// The offset that it says that it has.
        offset: i64,
        /// What is wrong with it.
        flaw: &'static str,
    },
}
