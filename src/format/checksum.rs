//! CRC-32C of bytes that are known by their checksums only.
//!
//! The crate's own `crc32c_combine` squares matrices, which takes longer than a pass over a batch of usual size. Here
//! it is arithmetic on polynomials, as in zlib since 1.2.12: what depends on the length alone is one number, found once
//! per batch, and joining is one multiplication.

/// CRC-32C's polynomial, lowest power in the highest bit, as in all values here.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// `x` to the power of `8 * 2^n`, which is what 2^n bytes multiply a checksum by that they follow.
const POWERS: [u32; usize::BITS as usize] = powers();

/// What a number of bytes does to the checksum of what is before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift(u32);

impl Shift {
    /// That of `bytes` bytes.
    pub(super) fn by(mut bytes: usize) -> Self {
        let mut shift = ONE;
        for power in POWERS {
            if bytes == 0 {
                break;
            }
            if bytes & 1 == 1 {
                shift = multiply(power, shift);
            }
            bytes >>= 1;
        }
        Self(shift)
    }

    /// The checksum of two parts, given their own. The second one has as many bytes as the shift is of.
    pub(super) fn join(self, first: u32, second: u32) -> u32 {
        multiply(self.0, first) ^ second
    }
}

const fn powers() -> [u32; usize::BITS as usize] {
    let mut powers = [ONE >> 8; usize::BITS as usize];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = multiply(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

/// The product of two polynomials, modulo that of CRC-32C.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crc32c::{crc32c, crc32c_combine};

    #[test]
    fn joined_checksums_are_those_of_all_bytes() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (cut, end) in [(0, 0), (0, 1), (1, 1), (40, 41), (40, 296), (40, 65_576), (40, 100_000), (99_999, 100_000)]
        {
            let (first, second) = (crc32c(&bytes[..cut]), crc32c(&bytes[cut..end]));
            assert_eq!(Shift::by(end - cut).join(first, second), crc32c(&bytes[..end]), "{cut} of {end}");
        }
        for length in [1, 255, 1 << 20, (1 << 20) + 77, i32::MAX as usize] {
            assert_eq!(Shift::by(length).join(0xdead_beef, 7), crc32c_combine(0xdead_beef, 7, length), "{length}");
        }
    }
}
