//! Messages of old formats, made and read: alone, packed, and damaged.

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

pub(crate) fn plain(
    magic: i8,
    attributes: i8,
    offset: i64,
    time: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
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

pub(crate) fn packed(magic: i8, codec: Codec, attributes: i8, offset: i64, time: i64, inner: &[Vec<u8>]) -> Vec<u8> {
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
        let bytes = packed(1, Codec::Gzip, 0, 104, 0, &wrong);
        let message = Message::split_from(&mut bytes.into()).unwrap().unwrap();
        let error = message.decode(|one| panic!("{one:?} is shown")).unwrap_err();
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
