//! Messages of the formats before record batches (magic 0 and 1, Kafka 0.10 and older), which brokers go on giving out as long as
//! they are in a log.
//!
//! A message stands alone, or has others in its value, compressed all at once. Those of format 1 count their offsets from the
//! first of them, and the message around them has the offset of the last; those of format 0 have their own. Format 0 knows no
//! timestamps, neither knows headers.

use bytes::{Buf, Bytes};
use flate2::Crc;
use twox_hash::XxHash32;

use super::{Codec, MOST, Malformed, compression};

#[cfg(test)]
pub(crate) mod tests;

/// Bytes before those that a message's size counts: offset and size.
const BEFORE: usize = 12;
/// The least that the size counts: checksum, magic, attributes, and the lengths of key and value.
const LEAST: usize = 14;
/// Where what the checksum covers begins, behind the size.
const CHECKED_FROM: usize = 4;
/// The bit of the attributes that says that the time is the broker's.
const APPEND_TIME: i8 = 8;
/// No timestamp.
const NONE: i64 = -1;

/// A message, or several that are compressed together.
#[derive(Clone, Debug)]
pub struct Message {
    offset: i64,
    magic: i8,
    attributes: i8,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

/// A message as it is copied: a record without headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; -1 for none.
    pub timestamp: i64,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl Message {
    /// Splits the next message off the front of `bytes` and checks its checksum. `None` if there is nothing, or only a part of
    /// one; `bytes` stay as they are then, and where it is none.
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Self>, Malformed> {
        let mut ahead = bytes.clone();
        if ahead.len() < BEFORE {
            return Ok(None);
        }
        let (offset, size) = (ahead.get_i64(), ahead.get_i32());
        if offset < 0 || offset == i64::MAX {
            return Err(Malformed::Field { base_offset: offset, field: "offset", value: offset });
        }
        let counted = usize::try_from(size).ok().filter(|size| *size >= LEAST);
        let counted = counted.ok_or(Malformed::Length { base_offset: offset, length: size })?;
        if ahead.len() < counted {
            return Ok(None);
        }
        let message = Self::read(offset, ahead.split_to(counted))?;
        *bytes = ahead;
        Ok(Some(message))
    }

    /// What is behind its size: at least [`LEAST`] bytes.
    fn read(offset: i64, mut rest: Bytes) -> Result<Self, Malformed> {
        let mut crc = Crc::new();
        crc.update(&rest[CHECKED_FROM..]);
        let (said, found) = (rest.get_u32(), crc.sum());
        if said != found {
            return Err(Malformed::Checksum { base_offset: offset, said, found });
        }
        let (magic, attributes) = (rest.get_i8(), rest.get_i8());
        let timestamp = match magic {
            0 => NONE,
            1 => rest.try_get_i64().map_err(|_| flaw(offset, "it ends before it should"))?,
            unknown => return Err(Malformed::UnknownFormat(unknown)),
        };
        let (key, value) = (nullable(offset, &mut rest)?, nullable(offset, &mut rest)?);
        if !rest.is_empty() {
            return Err(flaw(offset, "bytes follow its value"));
        }
        Ok(Self { offset, magic, attributes, timestamp, key, value })
    }

    /// The offset after the last one that it has.
    pub fn next_offset(&self) -> i64 {
        self.offset.saturating_add(1)
    }

    /// What the messages in it are compressed with; [`Codec::None`] where it stands alone.
    pub fn codec(&self) -> Result<Codec, Malformed> {
        Codec::of(self.attributes.into()).ok_or(Malformed::Field {
            base_offset: self.offset,
            field: "attributes",
            value: self.attributes.into(),
        })
    }

    /// Shows the messages in it in order, or itself where it stands alone. Of one that is malformed nothing is shown.
    pub fn decode(&self, mut visit: impl FnMut(Plain<'_>)) -> Result<(), Malformed> {
        let codec = self.codec()?;
        if codec == Codec::None {
            visit(self.plain(self.offset, self.timestamp));
            return Ok(());
        }
        let inner = self.open(codec)?;
        let last = inner.last().ok_or_else(|| flaw(self.offset, "nothing is in it"))?.offset;
        // in format 0 each says its own offset
        let first = if self.magic == 0 { 0 } else { self.offset - last };
        let append_time = (self.attributes & APPEND_TIME != 0).then_some(self.timestamp);
        let mut expected = 0;
        let offsets = inner.iter().map(|message| {
            let offset = first.checked_add(message.offset).filter(|offset| (expected..=self.offset).contains(offset));
            let offset = offset.ok_or_else(|| flaw(self.offset, "an offset in it does not follow the one before"))?;
            expected = offset + 1;
            Ok(offset)
        });
        let offsets: Vec<i64> = offsets.collect::<Result<_, Malformed>>()?;
        for (message, offset) in inner.iter().zip(offsets) {
            visit(message.plain(offset, append_time.unwrap_or(message.timestamp)));
        }
        Ok(())
    }

    fn plain(&self, offset: i64, timestamp: i64) -> Plain<'_> {
        Plain { offset, timestamp, key: self.key.as_deref(), value: self.value.as_deref() }
    }

    /// The messages in it, none of which has others in it.
    fn open(&self, codec: Codec) -> Result<Vec<Self>, Malformed> {
        let value = self.value.clone().ok_or_else(|| flaw(self.offset, "it is compressed, and has no value"))?;
        let value = if self.magic == 0 && codec == Codec::Lz4 { mended(value) } else { value };
        let mut opened = Bytes::from(compression::open(codec, &value, MOST)?.into_owned());
        let mut inner = Vec::new();
        while let Some(message) = Self::split_from(&mut opened)? {
            if message.magic != self.magic || message.codec()? != Codec::None {
                return Err(flaw(self.offset, "what is in it is of another format, or compressed again"));
            }
            inner.push(message);
        }
        if opened.is_empty() { Ok(inner) } else { Err(flaw(self.offset, "the last message in it is cut off")) }
    }
}

fn flaw(offset: i64, flaw: &'static str) -> Malformed {
    Malformed::Message { offset, flaw }
}

/// A length of 32 bits, -1 for null, and so many bytes.
fn nullable(offset: i64, rest: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
    let length = rest.try_get_i32().map_err(|_| flaw(offset, "it ends before it should"))?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| flaw(offset, "a length is below -1"))?;
    if rest.len() < length {
        return Err(flaw(offset, "it ends before it should"));
    }
    Ok(Some(rest.split_to(length)))
}

/// A frame with the header checksum that it should have: clients of format 0 counted the frame's magic in (KAFKA-3160).
fn mended(frame: Bytes) -> Bytes {
    /// Behind the magic: flags, and the size of blocks.
    const DESCRIPTOR: std::ops::Range<usize> = 4..6;
    /// The flags of a longer descriptor: with the content's size, or a dictionary's id. Kafka never writes one.
    const LONGER: u8 = 8 | 1;
    let Some(descriptor) = frame.get(DESCRIPTOR).filter(|descriptor| descriptor[0] & LONGER == 0) else { return frame };
    let checksum = XxHash32::oneshot(0, descriptor).to_le_bytes()[1];
    let mut mended = frame.to_vec();
    if let Some(byte) = mended.get_mut(DESCRIPTOR.end) {
        *byte = checksum;
    }
    Bytes::from(mended)
}
