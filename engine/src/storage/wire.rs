//! Integers and strings on disk: LEB128 varints, zigzag for signed, little-endian for fixed width. Reading checks
//! every length against what is there: bytes from disk are input.
//!
//! This is the only reader of them. A number has one meaning wherever it is stored: a varint that does not fit 64 bits
//! is damage, its excess bits are not dropped.

/// The bytes end early, or hold something that no writer of ours writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Appends an unsigned varint: seven bits a byte, low bits first.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed varint; small magnitudes are short.
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Small magnitudes to small numbers: 0, -1, 1, -2, ...
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Inverse of [`zigzag`].
#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes values from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not yet taken.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// An error unless everything was taken.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes are left over")) }
    }

    /// Takes `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Malformed("bytes end early"))?;
        self.0 = tail;
        Ok(head)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// Takes a little-endian u32.
    pub fn u32_le(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("4 bytes")))
    }

    /// Takes a little-endian u64.
    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("8 bytes")))
    }

    /// Takes an unsigned varint.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (idx, &byte) in self.0.iter().enumerate().take(10) {
            if idx == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << (7 * idx);
            if byte < 0x80 {
                self.0 = &self.0[idx + 1..];
                return Ok(value);
            }
        }
        Err(Malformed("a number does not end"))
    }

    /// Takes a varint that counts things of at least one byte each, so it is bounded by what is left.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.varint()?;
        if count > self.0.len() as u64 {
            return Err(Malformed("a count exceeds the bytes"));
        }
        Ok(count as usize)
    }

    /// Takes a varint that counts or measures something in memory, at most `max`.
    pub fn size(&mut self, max: usize) -> Result<usize, Malformed> {
        let value = self.varint()?;
        if value > max as u64 {
            return Err(Malformed("a count is too large"));
        }
        Ok(value as usize)
    }

    /// Takes a varint that must fit `u32`.
    pub fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number exceeds 32 bits"))
    }

    /// Takes a signed varint.
    pub fn zigzag(&mut self) -> Result<i64, Malformed> {
        Ok(unzigzag(self.varint()?))
    }

    /// Takes a length and bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count()?;
        self.take(len)
    }

    /// Takes a length and UTF-8 text.
    pub fn str(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u64, signed: i64, text in ".*") {
            let mut out = Vec::new();
            put_varint(&mut out, unsigned);
            put_zigzag(&mut out, signed);
            put_bytes(&mut out, text.as_bytes());
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(unsigned));
            prop_assert_eq!(reader.zigzag(), Ok(signed));
            prop_assert_eq!(reader.str(), Ok(&*text));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn survives_any_bytes(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let _ = (reader.clone().varint(), reader.clone().str(), reader.clone().count(), reader.u64_le());
        }
    }

    #[test]
    fn a_varint_has_one_meaning() {
        #[track_caller]
        fn check(bytes: &[u8], want: Result<u64, &str>) {
            let mut reader = Reader::new(bytes);
            let found = reader.varint();
            assert_eq!(found.map_err(|err| err.0), want, "{bytes:02x?}");
            let left = if want.is_ok() { 0 } else { bytes.len() };
            assert_eq!(reader.rest().len(), left, "{bytes:02x?}: a number that is refused is not taken");
        }
        let endless = Err("a number does not end");
        check(&[], endless);
        check(&[0x00], Ok(0));
        check(&[0x7F], Ok(127));
        check(&[0x80], endless);
        check(&[0x80, 0x01], Ok(128));
        // No writer of ours writes the longer form of a number; a reader takes it, as LEB128 says.
        check(&[0x80, 0x00], Ok(0));
        check(&[0xFF; 3], endless);
        check(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], Ok(u64::MAX));
        // Bit 64 and up would be lost.
        check(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], endless);
        check(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], endless);
        check(&[0xFF; 10], endless);
        check(&[0xFF; 11], endless);
    }

    #[test]
    fn lengths_are_held_against_what_is_there() {
        #[track_caller]
        fn check<T: std::fmt::Debug + PartialEq>(
            bytes: &[u8],
            read: fn(&mut Reader<'_>) -> Result<T, Malformed>,
            want: Result<T, &str>,
        ) {
            assert_eq!(read(&mut Reader::new(bytes)).map_err(|err| err.0), want, "{bytes:02x?}");
        }
        check(&[2, 1, 2], |r| r.count(), Ok(2));
        check(&[3, 1, 2], |r| r.count(), Err("a count exceeds the bytes"));
        check(&[2, 1, 2], |r| r.bytes().map(<[u8]>::to_vec), Ok(vec![1, 2]));
        check(&[5, 1, 2], |r| r.bytes().map(<[u8]>::to_vec), Err("a count exceeds the bytes"));
        check(&[1, 0xFF], |r| r.str().map(str::to_owned), Err("text is not UTF-8"));
        check(&[9], |r| r.size(9), Ok(9));
        check(&[10], |r| r.size(9), Err("a count is too large"));
        check(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], |r| r.varint_u32(), Ok(u32::MAX));
        check(&[0x80, 0x80, 0x80, 0x80, 0x10], |r| r.varint_u32(), Err("a number exceeds 32 bits"));
        check(&[1, 2, 3], |r| r.u32_le(), Err("bytes end early"));
        check(&[1, 0, 0, 0], |r| r.u32_le(), Ok(1));
        check(&[1, 0, 0, 0, 0, 0, 0, 1], |r| r.u64_le(), Ok(1 << 56 | 1));
        check(&[0x01], |r| r.zigzag(), Ok(-1));
        check(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], |r| r.zigzag(), Ok(i64::MIN));
    }
}
