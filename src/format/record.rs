//! Records in an opened payload.

use super::{Header, Malformed};

/// The least that a record takes: a byte for its length, attributes, timestamp, offset, key, value and header count each.
const LEAST: usize = 7;

/// One record, borrowed from an opened batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset in the partition that the batch is from.
    pub offset: i64,
    /// Milliseconds since 1970, by the producer or the broker; -1 for none.
    pub timestamp: i64,
    /// Its key; `None` is no key, which is not an empty one.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: Reader<'a>,
    header_count: usize,
}

impl<'a> Record<'a> {
    /// Its headers in their order: names, that need not be UTF-8 nor different from each other, and values.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.headers, left: self.header_count }
    }
}

/// Iterates over a record's headers.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // the record was read through before anybody got it
        self.rest.header().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Shows every record of an opened payload, in order, after it is read through to its last header.
pub(super) fn walk(header: &Header, payload: &[u8], mut visit: impl FnMut(Record<'_>)) -> Result<(), Malformed> {
    let count = header.count;
    if usize::try_from(count).is_ok_and(|count| count > payload.len() / LEAST) {
        return Err(Malformed::Count { count, bytes: payload.len() });
    }
    let mut rest = Reader(payload);
    let mut least_delta = 0;
    for index in 0..count {
        let byte = payload.len() - rest.0.len();
        let (delta, record) =
            rest.record(header, least_delta).map_err(|flaw| Malformed::Record { index, byte, flaw })?;
        least_delta = delta + 1;
        visit(record);
    }
    if rest.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing { bytes: rest.0.len() }) }
}

/// What is wrong with a record.
type Flaw = &'static str;

/// The bytes that are not read yet.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A record and its offset delta, which has to be at least `least_delta`.
    fn record(&mut self, header: &Header, least_delta: i64) -> Result<(i64, Record<'a>), Flaw> {
        let length = usize::try_from(self.varint()?).map_err(|_| "its length is negative")?;
        let mut rest = Self(self.take(length)?);
        // the attributes of a record: no bit of them means anything
        rest.take(1)?;
        let timestamp_delta = rest.varlong()?;
        let delta = i64::from(rest.varint()?);
        if delta < least_delta || delta > header.last_offset_delta.into() {
            return Err("its offset does not follow the one before, or is none of the batch's");
        }
        let (key, value) = (rest.nullable()?, rest.nullable()?);
        let (headers, header_count) = rest.headers()?;
        // producers subtract as in two's complement, so that any two timestamps have a difference
        let own = header.base_timestamp.wrapping_add(timestamp_delta);
        let timestamp = if header.has_append_time() { header.max_timestamp } else { own };
        let offset = header.base_offset.saturating_add(delta);
        Ok((delta, Record { offset, timestamp, key, value, headers, header_count }))
    }

    /// All that is left, as headers, which are read through: where they begin, and how many there are.
    fn headers(mut self) -> Result<(Self, usize), Flaw> {
        let count = usize::try_from(self.varint()?).map_err(|_| "its header count is negative")?;
        let headers = self;
        for _ in 0..count {
            self.header()?;
        }
        if self.0.is_empty() { Ok((headers, count)) } else { Err("bytes follow its last header") }
    }

    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), Flaw> {
        Ok((self.nullable()?.ok_or("a header's name is null")?, self.nullable()?))
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, Flaw> {
        match self.varint()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| "a length is below -1")?).map(Some),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or("it ends before it should")?;
        self.0 = rest;
        Ok(taken)
    }

    /// Up to 5 bytes.
    fn varint(&mut self) -> Result<i32, Flaw> {
        let number = u32::try_from(self.unsigned(5)?).map_err(|_| "a number has more than 32 bits")?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// Up to 10 bytes.
    fn varlong(&mut self) -> Result<i64, Flaw> {
        let number = self.unsigned(10)?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// Up to `most` bytes of 7 bits each, the lowest first.
    fn unsigned(&mut self, most: usize) -> Result<u64, Flaw> {
        let mut number = 0;
        for at in 0..most {
            let (&byte, rest) = self.0.split_first().ok_or("it ends in a number")?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                return Err("a number has more than 64 bits");
            }
            number |= bits << (7 * at);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number has too many bytes")
    }
}
