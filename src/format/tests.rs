//! What goes in comes out, what is damaged is found, and what Java made is understood.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

type HeaderPair = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Debug, PartialEq)]
struct Owned {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<HeaderPair>,
}

impl Owned {
    fn new(timestamp: i64, value: &[u8]) -> Self {
        Self { offset: 0, timestamp, key: None, value: Some(value.to_vec()), headers: Vec::new() }
    }

    fn of(record: Record<'_>) -> Self {
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || {
        option::of(prop_oneof![
            vec(any::<u8>(), 0..40),
            (0..4_u8, 0..8000_usize).prop_map(|(byte, length)| vec![byte; length])
        ])
    };
    let timestamp = prop_oneof![Just(-1), 1_700_000_000_000..1_700_000_100_000_i64, any::<i64>()];
    // few names, so that some come twice; none need be UTF-8
    let name = prop_oneof![
        select(vec![vec![], b"id".to_vec(), vec![0xff, 0xfe]]),
        vec(any::<u8>(), 0..20),
        Just(vec![b'n'; 70])
    ];
    let record = (timestamp, bytes(), bytes(), vec((name, option::of(vec(any::<u8>(), 0..20))), 0..5));
    vec(record, 1..20).prop_map(|records| {
        let all = records.into_iter().zip(0..);
        all.map(|((timestamp, key, value, headers), offset)| Owned { offset, timestamp, key, value, headers }).collect()
    })
}

fn codec() -> impl Strategy<Value = Codec> {
    select(Codec::ALL.to_vec())
}

fn encoder(codec: Codec, records: &[Owned]) -> Encoder {
    let mut encoder = Encoder::new(codec);
    for record in records {
        let headers = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
        encoder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), headers);
    }
    encoder
}

fn encode(codec: Codec, records: &[Owned]) -> RawBatch {
    encoder(codec, records).finish().unwrap()
}

fn bytes_of(batch: &RawBatch) -> BytesMut {
    joined(&batch.header().to_bytes(), batch)
}

fn joined(header: &[u8], batch: &RawBatch) -> BytesMut {
    let mut bytes = BytesMut::from(header);
    bytes.extend_from_slice(batch.payload());
    bytes
}

fn split(bytes: &[u8]) -> Result<Option<RawBatch>, Malformed> {
    RawBatch::split_from(&mut Bytes::copy_from_slice(bytes))
}

fn decoded(batch: &RawBatch) -> Result<Vec<Owned>, Malformed> {
    let mut all = Vec::new();
    batch.decode(|record| all.push(Owned::of(record))).map(|()| all)
}

/// Does all that can be done with bytes, until they are used up or malformed.
fn exercise(bytes: Vec<u8>) {
    let mut bytes = Bytes::from(bytes);
    while let Ok(Some(batch)) = RawBatch::split_from(&mut bytes) {
        let _ = batch.decode_within(1 << 20, |record| assert_eq!(record.headers().len(), record.headers().count()));
        let _ = batch.header_for(Identity { producer_id: 1, epoch: 0 }, 0);
        let _ = (batch.header().next_offset(), batch.header().is_dense());
    }
}

/// A batch around any payload, with a good checksum.
fn around(codec: Codec, count: i32, last_offset_delta: i32, payload: Vec<u8>) -> RawBatch {
    let header = *encode(codec, &[Owned::new(5, b"")]).header();
    let length = i32::try_from(payload.len()).unwrap() + 49;
    RawBatch::new(Header { count, last_offset_delta, length, base_offset: 1000, ..header }, payload.into())
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(codec in codec(), records in records()) {
        let encoder = encoder(codec, &records);
        prop_assert_eq!((encoder.len(), encoder.is_empty()), (records.len(), false));
        let uncompressed = encoder.bytes();
        let batch = encoder.finish().unwrap();
        prop_assert!(codec != Codec::None || batch.total_bytes() == uncompressed);
        let mut bytes = bytes_of(&batch).freeze();
        prop_assert_eq!(bytes.len(), batch.total_bytes());
        let batch = RawBatch::split_from(&mut bytes).unwrap().unwrap();
        prop_assert!(bytes.is_empty());
        let header = batch.header();
        prop_assert_eq!(header.codec().unwrap(), codec);
        prop_assert!(header.is_dense() && !header.is_control() && !header.is_transactional());
        prop_assert_eq!(header.base_timestamp, records[0].timestamp);
        prop_assert_eq!(Some(header.max_timestamp), records.iter().map(|record| record.timestamp).max());
        prop_assert_eq!(decoded(&batch).unwrap(), records);
    }

    #[test]
    fn a_header_is_read_as_it_is_written(bytes in prop::array::uniform32(any::<u8>()), length in 49..=i32::MAX) {
        let mut whole = [0; HEADER_BYTES];
        whole[21..53].copy_from_slice(&bytes);
        whole[8..12].copy_from_slice(&length.to_be_bytes());
        (whole[16], whole[23]) = (2, whole[23] & 0x7f);
        let header = Header::parse(&whole).unwrap();
        prop_assert_eq!(header.to_bytes(), whole);
        prop_assert_eq!(header.total_bytes(), 12 + usize::try_from(length).unwrap());
    }

    #[test]
    fn a_new_header_keeps_what_it_does_not_rewrite(
        codec in codec(), records in records(), bits in 0..16_i16, base_offset in 0..1_i64 << 60, leader_epoch: i32,
        producer_id: i64, epoch: i16, sequence in 0..=i32::MAX,
    ) {
        let batch = encode(codec, &records);
        let attributes = batch.header().attributes | bits << 3;
        let old = Header { base_offset, leader_epoch, attributes, producer_id: 7, base_sequence: 9, ..*batch.header() };
        let batch = RawBatch::new(old, batch.payload().clone());
        let bytes = joined(&batch.header_for(Identity { producer_id, epoch }, sequence), &batch);
        let written = split(&bytes).unwrap().unwrap();
        prop_assert_eq!(written.header().crc, crc32c::crc32c(&bytes[21..]));
        let expected = Header {
            base_offset: 0,
            leader_epoch: -1,
            crc: written.header().crc,
            attributes: attributes & !(1 << 4 | 1 << 6),
            producer_id,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..*batch.header()
        };
        prop_assert_eq!(*written.header(), expected);
        prop_assert_eq!(written.payload(), batch.payload());
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in vec(any::<u8>(), 0..200), magic in 0..4_u8, length in 40..200_i32) {
        exercise(bytes.clone());
        if let Some(start) = bytes.get_mut(..17) {
            start[..12].fill(0);
            start[8..12].copy_from_slice(&length.to_be_bytes());
            start[16] = magic;
        }
        exercise(bytes);
    }

    #[test]
    fn no_payload_makes_it_panic(
        codec in codec(), records in records(), damage in vec((any::<Index>(), any::<u8>()), 1..4), cut: Index,
        count in -3..50_i32, last_offset_delta: i32,
    ) {
        // the checksum is made good again, so that what it protects is reached
        let batch = encode(codec, &records);
        let mut payload = batch.payload().to_vec();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        exercise(bytes_of(&around(codec, count, last_offset_delta, payload.clone())).to_vec());
        payload.truncate(cut.index(payload.len()));
        exercise(bytes_of(&around(codec, count, last_offset_delta, payload)).to_vec());
        let cut = batch.payload().slice(..cut.index(batch.payload().len()));
        let cut = RawBatch::new(*batch.header(), cut);
        prop_assert!(decoded(&cut).is_err());
    }

    #[test]
    fn damage_is_found(codec in codec(), records in records(), at: Index, bit in 0..8_u32) {
        let mut bytes = bytes_of(&encode(codec, &records));
        let at = 17 + at.index(bytes.len() - 17);
        bytes[at] ^= 1 << bit;
        let found = split(&bytes);
        let is_found = matches!(found, Err(Malformed::Checksum { .. }));
        prop_assert!(is_found || at < HEADER_BYTES && matches!(found, Err(Malformed::Field { .. })), "{:?}", found);
        exercise(bytes.to_vec());
    }

    #[test]
    fn a_part_of_a_batch_is_none(codec in codec(), records in records(), cut: Index) {
        let whole = bytes_of(&encode(codec, &records));
        let part = &whole[..cut.index(whole.len())];
        let mut bytes = Bytes::from([&whole[..], &whole[..], part].concat());
        prop_assert!(RawBatch::split_from(&mut bytes).unwrap().is_some());
        prop_assert!(RawBatch::split_from(&mut bytes).unwrap().is_some());
        prop_assert!(RawBatch::split_from(&mut bytes).unwrap().is_none());
        prop_assert_eq!(&bytes[..], part);
    }
}

/// What the Java client of Kafka 4.3.0 writes, payload and checksum, for two records: key "k", value "v" and a header "h"
/// of null at 1000 ms, then nothing at 999 ms.
const JAVA: [(Codec, u32, &str); 5] = [
    (Codec::None, 0xcc59_a9cb, "16000000026b0276020268010c000102010100"),
    (Codec::Gzip, 0x1765_7540, "1f8b08000000000000ff1363606060ca662a6362ca60e461606462646400009bf746ab13000000"),
    (Codec::Snappy, 0xbe2e_98a4, "82534e4150505900000000010000000100000015134816000000026b0276020268010c000102010100"),
    (Codec::Lz4, 0x59ef_5b6e, "04224d186040821300008016000000026b0276020268010c00010201010000000000"),
    (Codec::Zstd, 0x7fa1_cd26, "28b52ffd005898000016000000026b0276020268010c000102010100010000"),
];

#[test]
fn batches_of_the_java_client_are_read_and_uncompressed_ones_written_to_the_byte() {
    let first = Owned { key: Some(b"k".to_vec()), headers: vec![(b"h".to_vec(), None)], ..Owned::new(1000, b"v") };
    let second = Owned { offset: 1, value: None, ..Owned::new(999, b"") };
    let records = [first, second];
    for (codec, crc, hex) in JAVA {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let payload: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let header = *encode(codec, &records).header();
        let batch = around(codec, 2, 1, payload);
        let java = Header { length: batch.header().length, crc, ..header };
        let batch = split(&joined(&java.to_bytes(), &batch)).unwrap().unwrap();
        assert_eq!(decoded(&batch).unwrap(), records, "{codec}");
        if codec == Codec::None {
            assert_eq!((&header, encode(codec, &records).payload()), (batch.header(), batch.payload()));
        }
    }
}

#[test]
fn formats_are_told_apart_by_their_magic() {
    let mut bytes = bytes_of(&encode(Codec::None, &[Owned::new(1, b"v")]));
    for (magic, error) in [(1, Malformed::OldFormat(1)), (3, Malformed::UnknownFormat(3))] {
        bytes[16] = magic;
        assert_eq!(split(&bytes).unwrap_err(), error);
        // a message of the old format may be shorter than our header
        assert_eq!(split(&bytes[..30]).unwrap_err(), error);
        assert!(split(&bytes[..16]).unwrap().is_none());
    }
}

#[test]
fn a_batch_that_compaction_thinned_out_keeps_its_offsets() {
    // lengths, attributes, timestamp deltas, offset deltas 3 and 300, no key, no value, no header
    let payload = [vec![12, 0, 0, 6, 1, 1, 0], vec![14, 0, 0, 0xd8, 0x04, 1, 1, 0]].concat();
    let batch = around(Codec::None, 2, 400, payload);
    let offsets: Vec<_> = decoded(&batch).unwrap().iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [1003, 1300]);
    assert_eq!(batch.header().next_offset(), 1401);
    assert!(!batch.header().is_dense());
    // all its records are gone, whatever they were compressed with
    for codec in Codec::ALL {
        assert_eq!(decoded(&around(codec, 0, 4, Vec::new())), Ok(Vec::new()));
    }
}

#[test]
fn a_frame_that_lacks_any_of_its_end_is_cut_off() {
    // its last record ends in a zero, as the frame does
    let batch = encode(Codec::Lz4, &[Owned { value: None, ..Owned::new(-1, b"") }]);
    let whole = batch.payload();
    for lacking in 1..=whole.len() {
        let cut = RawBatch::new(*batch.header(), whole.slice(..whole.len() - lacking));
        assert!(decoded(&cut).is_err(), "it lacks {lacking} bytes");
    }
}

#[test]
fn append_time_is_that_of_all_records() {
    let batch = encode(Codec::Lz4, &[Owned::new(10, b"a"), Owned::new(20, b"b")]);
    let header = Header { attributes: batch.header().attributes | 8, max_timestamp: 99, ..*batch.header() };
    let appended = decoded(&RawBatch::new(header, batch.payload().clone())).unwrap();
    assert_eq!(appended.iter().map(|record| record.timestamp).collect::<Vec<_>>(), [99, 99]);
}

#[test]
fn records_that_are_none_are_refused() {
    let good = [12, 0, 0, 0, 1, 1, 0];
    let refused =
        |count, last, payload: &[u8]| decoded(&around(Codec::None, count, last, payload.to_vec())).unwrap_err();
    assert_eq!(refused(2, 1, &good), Malformed::Count { count: 2, bytes: 7 });
    assert_eq!(refused(i32::MAX, 1, &good), Malformed::Count { count: i32::MAX, bytes: 7 });
    assert_eq!(refused(1, 1, &[&good[..], &good].concat()), Malformed::Trailing { bytes: 7 });
    let flaws: [(&[u8], &str); 9] = [
        (&[12, 0, 0, 2, 1, 1, 0], "its offset"),
        (&[12, 0, 0, 1, 1, 1, 0], "its offset"),
        (&[1, 0, 0, 0, 1, 1, 0], "its length is negative"),
        (&[14, 0, 0, 0, 1, 1, 0], "it ends before"),
        (&[14, 0, 0, 0, 3, 1, 0, 0], "a length is below -1"),
        (&[14, 0, 0, 0, 1, 1, 1, 0], "its header count is negative"),
        (&[14, 0, 0, 0, 1, 1, 2, 1], "a header's name is null"),
        (&[0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0], "a number has more than 32 bits"),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], "a number has too many bytes"),
    ];
    for (payload, start) in flaws {
        match refused(1, 0, payload) {
            Malformed::Record { index: 0, byte: 0, flaw } => assert!(flaw.starts_with(start), "{payload:?}: {flaw}"),
            other => panic!("{payload:?}: {other}"),
        }
    }
    // the second record has the offset of the first one
    let twice = refused(2, 1, &[&good[..], &good].concat());
    assert!(matches!(twice, Malformed::Record { index: 1, byte: 7, .. }), "{twice}");
}

#[test]
fn both_forms_of_snappy_are_read() {
    let records = [Owned::new(1, &vec![7; 100_000]), Owned { offset: 1, ..Owned::new(2, b"x") }];
    let plain = encode(Codec::None, &records);
    let xerial = encode(Codec::Snappy, &records);
    assert_eq!(xerial.payload()[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let bare = snap::raw::Encoder::new().compress_vec(plain.payload()).unwrap();
    let length = i32::try_from(bare.len()).unwrap() + 49;
    let bare = RawBatch::new(Header { length, ..*xerial.header() }, bare.into());
    assert_eq!(decoded(&xerial).unwrap(), records);
    assert_eq!(decoded(&bare).unwrap(), records);
}

#[test]
fn members_and_frames_may_follow_each_other() {
    let records = [Owned::new(1, b"a"), Owned { offset: 1, ..Owned::new(1, b"b") }];
    let plain = encode(Codec::None, &records);
    let (first, second) = plain.payload().split_at(6);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let close = |part: &[u8]| compression::close(codec, part.to_vec()).unwrap();
        let batch = around(codec, 2, 1, [close(first), close(second)].concat());
        assert_eq!(decoded(&batch).unwrap().len(), 2, "{codec}");
    }
}

#[test]
fn a_payload_that_opens_to_too_much_is_refused() {
    let most = 1 << 20;
    let large = vec![0; 8 << 20];
    for codec in Codec::ALL {
        let bomb = around(codec, 1, 0, compression::close(codec, large.clone()).unwrap());
        assert_eq!(bomb.decode_within(most, |_| {}), Err(Malformed::TooLarge { most }), "{codec}");
    }
    // a length that such a block cannot have is refused whatever the limit is
    let liar = around(Codec::Snappy, 1, 0, vec![0xff, 0xff, 0xff, 0xff, 0x03, 0, 0]);
    assert!(matches!(decoded(&liar), Err(Malformed::Compressed { codec: Codec::Snappy, .. })));
}

#[test]
fn an_unknown_codec_is_refused_where_it_matters() {
    let batch = around(Codec::None, 1, 0, vec![12, 0, 0, 0, 1, 1, 0]);
    let batch = RawBatch::new(Header { attributes: 5, ..*batch.header() }, batch.payload().clone());
    assert!(split(&bytes_of(&batch)).unwrap().is_some());
    assert_eq!(decoded(&batch), Err(Malformed::Field { base_offset: 1000, field: "attributes", value: 5 }));
}

#[test]
fn no_records_make_no_batch() {
    assert_eq!(Encoder::new(Codec::Zstd).finish().unwrap_err(), EncodeError::Empty);
}
