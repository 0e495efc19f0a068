//! Reads a broker's answer field by field. What it says of its own lengths is not believed: nothing is reserved for it.

use std::fmt;

/// An answer that can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strange(&'static str);

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An answer of which one byte is another, and the same cut off: whoever reads answers has to bear both.
#[cfg(test)]
pub(super) fn damaged(mut answer: Vec<u8>, at: usize, with: u8, end: usize) -> [Vec<u8>; 2] {
    let at = at % answer.len();
    answer[at] = with;
    let cut = answer[..end.min(answer.len())].to_vec();
    [answer, cut]
}

type Parsed<T> = Result<T, Strange>;

/// Where in an answer we are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    left: &'a [u8],
    /// Whether lengths are varints, and everything may have tags.
    flexible: bool,
}

impl<'a> Cursor<'a> {
    /// At the beginning of an answer, behind its header.
    pub(super) fn new(answer: &'a [u8], flexible: bool) -> Self {
        Self { left: answer, flexible }
    }

    fn take<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Strange("it ends too early"))?;
        self.left = left;
        Ok(*taken)
    }

    fn bytes(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Strange("it ends too early"))?;
        self.left = left;
        Ok(taken)
    }

    pub(super) fn i8(&mut self) -> Parsed<i8> {
        self.take().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Parsed<i16> {
        self.take().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Parsed<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Parsed<i64> {
        self.take().map(i64::from_be_bytes)
    }

    /// What tells a topic from another one of the same name.
    pub(super) fn u128(&mut self) -> Parsed<u128> {
        self.take().map(u128::from_be_bytes)
    }

    fn varint(&mut self) -> Parsed<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| Strange("a length that is none"));
            }
        }
        Err(Strange("a length that is none"))
    }

    /// The number of things to come, of which each takes a byte at the least; none for null.
    pub(super) fn count(&mut self) -> Parsed<usize> {
        let count = if self.flexible {
            self.varint()?.saturating_sub(1)
        } else {
            usize::try_from(self.i32()?.max(0)).unwrap_or(0)
        };
        if count <= self.left.len() { Ok(count) } else { Err(Strange("it says that it has more than it has")) }
    }

    /// Text, which may be null.
    pub(super) fn text(&mut self) -> Parsed<Option<&'a str>> {
        let length = if self.flexible {
            self.varint()?.checked_sub(1)
        } else {
            usize::try_from(self.i16()?).ok() // -1 is null
        };
        let Some(length) = length else { return Ok(None) };
        std::str::from_utf8(self.bytes(length)?).map(Some).map_err(|_| Strange("a name that is no text"))
    }

    /// Passes over a list of numbers.
    pub(super) fn skip_numbers(&mut self) -> Parsed<()> {
        let count = self.count()?;
        self.bytes(count.saturating_mul(size_of::<i32>())).map(drop)
    }

    /// Passes over the tags at the end of something.
    pub(super) fn skip_tags(&mut self) -> Parsed<()> {
        if self.flexible {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()?;
                self.bytes(length)?;
            }
        }
        Ok(())
    }
}
