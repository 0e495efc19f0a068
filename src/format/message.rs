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

    /// Shows the messages in it in order, or itself where it stands alone.
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
        for message in &inner {
            let offset = first.checked_add(message.offset).filter(|offset| (expected..=self.offset).contains(offset));
            let offset = offset.ok_or_else(|| flaw(self.offset, "an offset in it does not follow the one before"))?;
            expected = offset + 1;
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

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Owned = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

    fn put(bytes: &mut Vec<u8>, field: Option<&[u8]>) {
        bytes.put_i32(field.map_or(-1, |field| i32::try_from(field.len()).unwrap()));
        bytes.extend(field.unwrap_or_default());
    }

    /// A message with a checksum that is right.
    fn message(magic: i8, attributes: i8, offset: i64, behind: &[u8]) -> Vec<u8> {
        let checked = [&[magic.cast_unsigned(), attributes.cast_unsigned()], behind].concat();
        let mut crc = Crc::new();
        crc.update(&checked);
        let mut bytes = Vec::new();
        bytes.put_i64(offset);
        bytes.put_i32(i32::try_from(checked.len() + CHECKED_FROM).unwrap());
        bytes.put_u32(crc.sum());
        bytes.extend(checked);
        bytes
    }

    fn plain(magic: i8, attributes: i8, offset: i64, time: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
        let mut behind = Vec::new();
        if magic == 1 {
            behind.put_i64(time);
        }
        put(&mut behind, key);
        put(&mut behind, value);
        message(magic, attributes, offset, &behind)
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<Owned>, Malformed> {
        let (mut bytes, mut all) = (Bytes::copy_from_slice(bytes), Vec::new());
        while let Some(message) = Message::split_from(&mut bytes)? {
            message.decode(|one| {
                let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
                all.push((one.offset, one.timestamp, owned(one.key), owned(one.value)));
            })?;
        }
        Ok(all)
    }

    fn packed(magic: i8, codec: Codec, attributes: i8, offset: i64, time: i64, inner: &[Vec<u8>]) -> Vec<u8> {
        let payload = compression::close(codec, inner.concat()).unwrap();
        let attributes = attributes | i8::try_from(codec.bits()).unwrap();
        plain(magic, attributes, offset, time, None, Some(&payload))
    }

    #[test]
    fn what_is_packed_has_the_offsets_that_its_format_says() {
        let inner = |magic, offset| plain(magic, 0, offset, 50 + offset, Some(b"k"), None);
        let one = |offset, time| (offset, time, Some(b"k".to_vec()), None);
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
            // compaction has left two of five
            let bytes = packed(1, codec, 0, 104, 9, &[inner(1, 1), inner(1, 4)]);
            assert_eq!(decoded(&bytes), Ok(vec![one(101, 51), one(104, 54)]), "{codec}");
            let bytes = packed(1, codec, APPEND_TIME, 104, 9, &[inner(1, 1), inner(1, 4)]);
            assert_eq!(decoded(&bytes), Ok(vec![one(101, 9), one(104, 9)]), "{codec}");
            let bytes = packed(0, codec, 0, 104, 9, &[inner(0, 101), inner(0, 104)]);
            assert_eq!(decoded(&bytes), Ok(vec![one(101, -1), one(104, -1)]), "{codec}");
        }
    }

    #[test]
    fn what_is_packed_wrongly_is_refused() {
        let inner = |magic, offset| plain(magic, 0, offset, 0, None, Some(b"v"));
        let again = packed(1, Codec::Gzip, 0, 0, 0, &[inner(1, 0)]);
        for wrong in [
            vec![],
            vec![inner(1, 4), inner(1, 1)],
            vec![inner(0, 4)],
            vec![again],
            vec![inner(1, 0)[..20].to_vec()],
            vec![inner(1, i64::MAX - 1), inner(1, 1)],
        ] {
            let error = decoded(&packed(1, Codec::Gzip, 0, 104, 0, &wrong)).unwrap_err();
            assert!(matches!(error, Malformed::Message { offset: 104, .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_damage_is_found(
            magic in 0..2_i8, offset in 0..i64::MAX, time: i64, at: prop::sample::Index, bit in 0..8_u32,
            key in proptest::option::of(vec(any::<u8>(), 0..9)), value in proptest::option::of(vec(any::<u8>(), 0..50)),
        ) {
            let mut bytes = plain(magic, 0, offset, time, key.as_deref(), value.as_deref());
            let time = if magic == 0 { NONE } else { time };
            prop_assert_eq!(decoded(&bytes), Ok(vec![(offset, time, key, value)]));
            prop_assert_eq!(decoded(&bytes[..at.index(bytes.len())]), Ok(vec![]));
            let checked = bytes.len() - BEFORE - CHECKED_FROM;
            bytes[BEFORE + CHECKED_FROM + at.index(checked)] ^= 1 << bit;
            let found = matches!(decoded(&bytes), Err(Malformed::Checksum { .. }));
            prop_assert!(found);
        }

        #[test]
        fn no_bytes_make_it_panic(
            offset in -1..3_i64, magic in -1..4_i8, attributes in 0..16_i8, behind in vec(any::<u8>(), 0..60),
            packed in vec((0..3_i64, vec(any::<u8>(), 0..30)), 0..4), codec in 1..5_usize,
        ) {
            drop(decoded(&message(magic, attributes, offset, &behind)));
            let inner: Vec<_> = packed.iter().map(|(offset, behind)| message(magic, 0, *offset, behind)).collect();
            drop(decoded(&self::packed(magic, Codec::ALL[codec], 0, offset, 0, &inner)));
        }
    }
}
