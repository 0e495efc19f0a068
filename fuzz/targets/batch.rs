//! No bytes may make record batches panic, or occupy memory without end. A payload may open to 1 GiB, in memory that
//! doubles as it grows: run it with `-rss_limit_mb=4096`.
#![no_main]

use anabranch::format::{Identity, Message, RawBatch};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    exercise(Bytes::copy_from_slice(data));
    // the same with a length and a checksum that are right, or what is behind them is hardly ever reached
    if let Some(repaired) = repaired(data) {
        exercise(repaired.into());
    }
    if let Some(message) = message(data) {
        exercise(message.into());
    }
});

fn exercise(mut bytes: Bytes) {
    let mut old = bytes.clone();
    while let Ok(Some(message)) = Message::split_from(&mut old) {
        let mut least = 0;
        let _ = message.decode(|plain| {
            assert!((least..message.next_offset()).contains(&plain.offset));
            least = plain.offset + 1;
        });
    }
    while let Ok(Some(batch)) = RawBatch::split_from(&mut bytes) {
        let _ = batch.decode(|record| assert_eq!(record.headers().count(), record.headers().len()));
        let header = batch.header_for(Identity { producer_id: 1, epoch: 0 }, 0);
        let written = [&header[..], batch.payload()].concat();
        let again = RawBatch::split_from(&mut written.into()).expect("it is well-formed").expect("it is whole");
        assert_eq!(again.payload(), batch.payload());
    }
}

fn repaired(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let length = i32::try_from(bytes.len().checked_sub(12)?).ok()?;
    bytes.get_mut(8..12)?.copy_from_slice(&length.to_be_bytes());
    *bytes.get_mut(16)? = 2;
    let crc = crc32c::crc32c(bytes.get(21..)?);
    bytes.get_mut(17..21)?.copy_from_slice(&crc.to_be_bytes());
    Some(bytes)
}

/// A message of an old format with a size and a checksum that are right.
fn message(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let size = i32::try_from(bytes.len().checked_sub(12)?).ok()?;
    bytes.get_mut(8..12)?.copy_from_slice(&size.to_be_bytes());
    *bytes.get_mut(16)? &= 1;
    let mut crc = flate2::Crc::new();
    crc.update(bytes.get(16..)?);
    bytes.get_mut(12..16)?.copy_from_slice(&crc.sum().to_be_bytes());
    Some(bytes)
}
