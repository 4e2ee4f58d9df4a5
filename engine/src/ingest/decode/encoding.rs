//! `Content-Encoding`: a compressed body to its bytes. Sizes are checked before memory is taken, so that a small bomb
//! costs what it unpacks to up to the limit, and nothing beyond.

use std::io::{self, Read};

use super::{BODY_BYTES_MAX, Error};
use crate::ingest::budget::Share;

/// First step of a buffer whose size is not known; it doubles from there.
const STEP_BYTES_MIN: usize = 64 << 10;

/// Largest window a zstd frame may ask for: 2^27 bytes are 128 MiB, zstd's own default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Snappy's longest copy is 64 bytes and takes 3. A length that no input of this size has is a lie.
const SNAPPY_RATIO_MAX: usize = 24;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 1951 as Loki has it, or RFC 1950 as HTTP has it.
    Deflate,
    /// Zstandard frames.
    Zstd,
    /// LZ4 frames.
    Lz4,
}

impl Encoding {
    /// What a push may be packed with. `snappy` says nothing: protobuf bodies are in snappy anyway.
    ///
    /// # Errors
    /// [`Error::Malformed`] with Loki's text.
    pub fn of_push(header: &str) -> Result<Self, Error> {
        match normal(header).as_str() {
            "" | "identity" | "snappy" => Ok(Self::Identity),
            "gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            _ => Err(unsupported(header)),
        }
    }

    /// What an OTLP request may be packed with.
    ///
    /// # Errors
    /// [`Error::Malformed`] with Loki's text.
    pub fn of_otlp(header: &str) -> Result<Self, Error> {
        match normal(header).as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "lz4" => Ok(Self::Lz4),
            "deflate" => Ok(Self::Deflate),
            _ => Err(unsupported(header)),
        }
    }

    /// Unpacks `body` to at most `limit_bytes`. `share` pays for the result.
    ///
    /// # Errors
    /// [`Error`]: not so packed, too large, or no memory.
    pub fn unpack(self, body: Vec<u8>, limit_bytes: usize, share: &mut Share) -> Result<Vec<u8>, Error> {
        let limit_bytes = limit_bytes.min(BODY_BYTES_MAX);
        match self {
            Self::Identity => within(body, limit_bytes),
            Self::Gzip => {
                check_gzip_header(&body)?;
                read_all(flate2::read::MultiGzDecoder::new(&*body), limit_bytes, share, flate_error)
            }
            Self::Deflate => {
                if is_zlib(&body) {
                    let zlib = flate2::read::ZlibDecoder::new(&*body);
                    match read_all(zlib, limit_bytes, share, flate_error) {
                        // By chance a raw stream can look like this; then the raw decoder has the last word.
                        Err(Error::Malformed(_)) => {}
                        done => return done,
                    }
                }
                read_all(flate2::read::DeflateDecoder::new(&*body), limit_bytes, share, flate_error)
            }
            Self::Zstd => {
                let invalid = |error: io::Error| Error::malformed(format!("zstd: {error}"));
                let mut zstd = zstd::stream::read::Decoder::with_buffer(&*body).map_err(invalid)?;
                zstd.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(invalid)?;
                read_all(zstd, limit_bytes, share, invalid)
            }
            Self::Lz4 => {
                let lz4 = lz4_flex::frame::FrameDecoder::new(&*body);
                read_all(lz4, limit_bytes, share, |error| Error::malformed(format!("lz4: {error}")))
            }
        }
    }
}

fn normal(header: &str) -> String {
    header.trim().to_ascii_lowercase()
}

fn unsupported(header: &str) -> Error {
    Error::malformed(format!("Content-Encoding {} not supported", logstack_go::quote::Quoted(header)))
}

/// Unpacks snappy's block format. The length that the block states is checked before memory is taken for it.
///
/// # Errors
/// [`Error`]: no snappy block, too large, or no memory.
pub fn unpack_snappy(body: &[u8], limit_bytes: usize, share: &mut Share) -> Result<Vec<u8>, Error> {
    let corrupt = || Error::malformed("snappy: corrupt input");
    let len = snap::raw::decompress_len(body).ok().filter(|_| !body.is_empty()).ok_or_else(corrupt)?;
    if len > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(corrupt());
    }
    let limit_bytes = limit_bytes.min(BODY_BYTES_MAX);
    if len > limit_bytes {
        return Err(Error::TooLarge { bytes: len as u64, limit_bytes: limit_bytes as u64 });
    }
    share.grow(len)?;
    let mut bytes = vec![0; len];
    match snap::raw::Decoder::new().decompress(body, &mut bytes) {
        Ok(written) if written == len => Ok(bytes),
        _ => Err(corrupt()),
    }
}

fn within(body: Vec<u8>, limit_bytes: usize) -> Result<Vec<u8>, Error> {
    if body.len() > limit_bytes {
        return Err(Error::TooLarge { bytes: body.len() as u64, limit_bytes: limit_bytes as u64 });
    }
    Ok(body)
}

/// Reads to the end, in steps that double; each is paid for before it is taken.
fn read_all(
    mut reader: impl Read,
    limit_bytes: usize,
    share: &mut Share,
    invalid: impl Fn(io::Error) -> Error,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        // One byte beyond the limit tells "just fits" from "too large".
        let step = bytes.len().max(STEP_BYTES_MIN).min(limit_bytes + 1 - bytes.len());
        share.grow(step)?;
        bytes.reserve_exact(step);
        let read = reader.by_ref().take(step as u64).read_to_end(&mut bytes).map_err(&invalid)?;
        if bytes.len() > limit_bytes {
            return Err(Error::TooLarge { bytes: bytes.len() as u64, limit_bytes: limit_bytes as u64 });
        }
        if read < step {
            return Ok(bytes);
        }
    }
}

fn check_gzip_header(body: &[u8]) -> Result<(), Error> {
    match body {
        [] => Err(Error::malformed("EOF")),
        [0x1f, 0x8b, 8, _, ..] => Ok(()),
        [_, _, _, _, ..] => Err(Error::malformed("gzip: invalid header")),
        _ => Err(Error::malformed("unexpected EOF")),
    }
}

fn flate_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::malformed("unexpected EOF"),
        _ => Error::malformed(format!("flate: corrupt input: {error}")),
    }
}

/// RFC 1950: method 8, window up to 32 KiB, and a check that makes the first two bytes a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flg, ..] if cmf & 0x0f == 8 && cmf >> 4 <= 7 && (u16::from(*cmf) << 8 | u16::from(*flg)).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::budget::{Budget, Refusal};

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn packed(text: &[u8]) -> Vec<(Encoding, Vec<u8>)> {
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(text).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(text).unwrap();
        vec![
            (Encoding::Identity, text.to_vec()),
            (Encoding::Gzip, gzip(text)),
            (Encoding::Deflate, raw.finish().unwrap()),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Zstd, zstd::encode_all(text, 1).unwrap()),
            (Encoding::Lz4, lz4.finish().unwrap()),
        ]
    }

    fn unpack(encoding: Encoding, body: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Error> {
        encoding.unpack(body.to_vec(), limit_bytes, &mut Budget::new(1 << 20).share())
    }

    #[test]
    fn unpacks_within_limits() {
        for text in [Vec::new(), b"line".to_vec(), vec![b'x'; 300_000]] {
            for (encoding, body) in packed(&text) {
                assert_eq!(unpack(encoding, &body, text.len()), Ok(text.clone()), "{encoding:?}");
                if !text.is_empty() {
                    let error = unpack(encoding, &body, text.len() - 1).unwrap_err();
                    assert!(matches!(error, Error::TooLarge { .. }), "{encoding:?}: {error}");
                    if encoding != Encoding::Identity {
                        let cut = &body[..body.len() - 5];
                        assert_ne!(unpack(encoding, cut, 1 << 20), Ok(text.clone()), "{encoding:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_bomb_takes_no_more_than_the_budget() {
        let bomb = gzip(&vec![0; 8 << 20]);
        let error = unpack(Encoding::Gzip, &bomb, 1 << 30).unwrap_err();
        assert!(matches!(error, Error::Memory(Refusal::TooLarge { .. })), "{error}");
    }

    #[test]
    fn gzip_may_come_in_pieces() {
        let body = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpack(Encoding::Gzip, &body, 100), Ok(b"one two".to_vec()));
    }

    #[test]
    fn names_what_is_wrong() {
        #[track_caller]
        fn check(encoding: Encoding, body: &[u8], want: &str) {
            assert_eq!(unpack(encoding, body, 100).unwrap_err().to_string(), want);
        }
        check(Encoding::Gzip, b"", "EOF");
        check(Encoding::Gzip, b"{\"streams\":[]}", "gzip: invalid header");
        check(Encoding::Gzip, &gzip(b"some text")[..20], "unexpected EOF");
        check(Encoding::Identity, &[0; 101], "request body too large: message size too large than max (101 vs 100)");
        assert_eq!(Encoding::of_push("zstd").unwrap_err().to_string(), "Content-Encoding \"zstd\" not supported");
        assert_eq!(Encoding::of_push("GZIP").unwrap(), Encoding::Gzip);
        assert_eq!(Encoding::of_otlp("zstd").unwrap(), Encoding::Zstd);
    }

    #[test]
    fn unpacks_snappy() {
        #[track_caller]
        fn check(body: &[u8], want: Result<&[u8], &str>) {
            let got = unpack_snappy(body, 1000, &mut Budget::new(1 << 20).share());
            assert_eq!(got.map_err(|error| error.to_string()), want.map(<[u8]>::to_vec).map_err(str::to_owned));
        }
        let pack = |text: &[u8]| snap::raw::Encoder::new().compress_vec(text).unwrap();
        check(&pack(b"line"), Ok(b"line"));
        check(&pack(b""), Ok(b""));
        check(b"", Err("snappy: corrupt input"));
        check(b"{\"streams\":[]}", Err("snappy: corrupt input"));
        check(b"\xff\xff\xff\xff\x0f", Err("snappy: corrupt input"));
        check(&pack(&[0; 1001]), Err("request body too large: message size too large than max (1001 vs 1000)"));
        // The bound on the ratio must not refuse the best that snappy can do.
        let zeros = vec![0; 1 << 20];
        assert_eq!(unpack_snappy(&pack(&zeros), 1 << 20, &mut Budget::new(1 << 20).share()), Ok(zeros));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Lz4] {
                let _ = unpack(encoding, &body, 1000);
            }
            let _ = unpack_snappy(&body, 1000, &mut Budget::new(1 << 20).share());
        }
    }
}
