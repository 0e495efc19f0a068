//! Payloads, opened and closed, in the forms that Kafka's clients read and write.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::Malformed;

/// The most bytes that a payload opens to: far above what any broker takes, whose batches have to fit into memory
/// several times.
pub const MOST: usize = 1 << 30;

/// What a payload is compressed with: bits 0 to 2 of the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// One or more members.
    Gzip,
    /// Blocks in a frame of the Java library's own, or one bare block.
    Snappy,
    /// The frame format.
    Lz4,
    /// One or more frames. Brokers take it since Kafka 2.1.
    Zstd,
}

impl Codec {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The name that Kafka's configuration has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn of(attributes: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.bits() == attributes & 7)
    }

    pub(super) fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a payload did not open; the codec is added later.
enum Failure {
    Codec(String),
    TooLarge,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Codec(error.to_string())
    }
}

/// The records of a payload, if they take at most `most` bytes.
pub(super) fn open(codec: Codec, payload: &[u8], most: usize) -> Result<Cow<'_, [u8]>, Malformed> {
    let opened = match codec {
        Codec::None if payload.len() > most => Err(Failure::TooLarge),
        Codec::None => return Ok(Cow::Borrowed(payload)),
        Codec::Gzip => read_all(&mut MultiGzDecoder::new(payload), payload.len(), most),
        Codec::Snappy => open_snappy(payload, most),
        Codec::Lz4 => open_lz4(payload, most),
        Codec::Zstd => open_zstd(payload, most),
    };
    opened.map(Cow::Owned).map_err(|failure| match failure {
        Failure::Codec(reason) => Malformed::Compressed { codec, reason },
        Failure::TooLarge => Malformed::TooLarge { most },
    })
}

/// Reads until the end, and never more than one byte above `most`.
fn read_all(reader: &mut impl Read, compressed: usize, most: usize) -> Result<Vec<u8>, Failure> {
    // usual payloads shrink to a third or a quarter
    let mut opened = Vec::with_capacity(compressed.saturating_mul(4).min(most));
    reader.take((most as u64).saturating_add(1)).read_to_end(&mut opened)?;
    if opened.len() > most { Err(Failure::TooLarge) } else { Ok(opened) }
}

fn open_zstd(payload: &[u8], most: usize) -> Result<Vec<u8>, Failure> {
    read_all(&mut zstd::stream::read::Decoder::with_buffer(payload)?, payload.len(), most)
}

fn open_lz4(payload: &[u8], most: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = FrameDecoder::new(Watched { left: payload, is_short: false });
    let opened = read_all(&mut decoder, payload.len(), most)?;
    // a frame that is cut off between blocks, or in the mark of its end, reads like one that ends
    if decoder.get_ref().is_short { Err(Failure::Codec("the frame is cut off".into())) } else { Ok(opened) }
}

/// Bytes, and whether more of them were wanted than there are.
struct Watched<'a> {
    left: &'a [u8],
    is_short: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.left.read(buffer)?;
        self.is_short |= read < buffer.len();
        Ok(read)
    }
}

/// What the Java library begins with: a magic, a version, and the oldest version that can read it.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// What the Java library puts into a block.
const XERIAL_BLOCK: usize = 32 << 10;
/// Snappy's shortest notation is 3 bytes for 64.
const SNAPPY_MOST_RATIO: usize = 22;

fn open_snappy(payload: &[u8], most: usize) -> Result<Vec<u8>, Failure> {
    let mut opened = Vec::new();
    if !payload.starts_with(XERIAL_MAGIC) {
        open_snappy_block(payload, most, &mut opened)?;
        return Ok(opened);
    }
    let mut rest = payload;
    while !rest.is_empty() {
        // streams may follow each other, each with its header
        if rest.starts_with(XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER.len()..).ok_or_else(cut_off)?;
            continue;
        }
        let (length, behind) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let length = usize::try_from(u32::from_be_bytes(*length))?;
        let (block, behind) = behind.split_at_checked(length).ok_or_else(cut_off)?;
        open_snappy_block(block, most, &mut opened)?;
        rest = behind;
    }
    Ok(opened)
}

fn cut_off() -> Failure {
    Failure::Codec("a block is cut off".into())
}

/// Appends what is in the block, whose length is not believed before it can be true.
fn open_snappy_block(block: &[u8], most: usize, opened: &mut Vec<u8>) -> Result<(), Failure> {
    let length = snap::raw::decompress_len(block)?;
    if length / SNAPPY_MOST_RATIO > block.len() {
        return Err(Failure::Codec(format!("{} bytes say that they open to {length}", block.len())));
    }
    let start = opened.len();
    let end = start.checked_add(length).filter(|end| *end <= most).ok_or(Failure::TooLarge)?;
    opened.resize(end, 0);
    snap::raw::Decoder::new().decompress(block, opened.get_mut(start..).unwrap_or_default())?;
    Ok(())
}

/// The payload that records make.
pub(super) fn close(codec: Codec, records: Vec<u8>) -> io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(records),
        Codec::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(records.len() / 2), flate2::Compression::default());
            encoder.write_all(&records)?;
            encoder.finish()
        }
        Codec::Snappy => close_snappy(&records),
        Codec::Lz4 => close_lz4(&records),
        Codec::Zstd => zstd::bulk::compress(&records, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}

/// As Java does, which reads no frame whose blocks depend on each other.
fn close_lz4(records: &[u8]) -> io::Result<Vec<u8>> {
    let blocks = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(blocks, Vec::with_capacity(records.len() / 2));
    encoder.write_all(records)?;
    encoder.finish().map_err(io::Error::other)
}

fn close_snappy(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut payload = XERIAL_HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for part in records.chunks(XERIAL_BLOCK) {
        let block = encoder.compress_vec(part).map_err(io::Error::other)?;
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(&block);
    }
    Ok(payload)
}
