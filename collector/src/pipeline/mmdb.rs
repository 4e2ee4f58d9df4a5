//! MaxMind's database format, read in place.
//!
//! ```text
//! file := tree 16 zero bytes data … "\xab\xcd\xefMaxMind.com" metadata
//! ```
//!
//! The tree is walked by the bits of an address; a leaf points into the data. Pages are read as they are needed and a few
//! are kept: a database of 60 MB would otherwise be most of a collector's memory, and a mapped one ends the process when
//! somebody shortens the file.
//!
//! Source: MaxMind DB File Format Specification 2.0.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;

const METADATA_MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// The metadata lie within so many bytes of the end.
const METADATA_BYTES_MAX: u64 = 128 << 10;
/// Zero bytes between tree and data.
const SEPARATOR_BYTES: u64 = 16;
const PAGE_BYTES: usize = 4096;
/// Pages that are kept: 512 KiB, which holds the upper part of a tree.
const PAGES: usize = 128;
/// A value that is nested more deeply, or has more parts, is damage.
const DEPTH_MAX: usize = 16;
const PARTS_MAX: usize = 10_000;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The content.
    #[error("is not a MaxMind database, or is damaged: {0}")]
    Damaged(&'static str),
}

/// A value of the data section.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// UTF-8.
    Text(String),
    /// Double, float.
    Float(f64),
    /// Any unsigned integer up to 64 bits.
    Unsigned(u64),
    /// In file order.
    Map(Vec<(String, Self)>),
    /// In file order.
    Array(Vec<Self>),
    /// What nobody asks for: bytes, larger integers, booleans.
    Other,
}

impl Value {
    /// The value of a map's key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            _ => None,
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    pages: Pages,
    node_count: u64,
    record_bits: u64,
    tree_bytes: u64,
    /// Node at which addresses of version 4 begin; `None`: it holds only those, from the root on.
    ipv4_root: Option<u64>,
    /// Name of the kind, such as `GeoLite2-City`.
    pub kind: String,
}

impl Database {
    /// Opens a database and reads its metadata.
    ///
    /// # Errors
    /// A file that cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let tail_at = len.saturating_sub(METADATA_BYTES_MAX);
        let mut tail = vec![0; (len - tail_at) as usize];
        file.read_exact_at(&mut tail, tail_at)?;
        let mark = memchr::memmem::rfind(&tail, METADATA_MARK).ok_or(Error::Damaged("no metadata"))?;
        let metadata_at = tail_at + (mark + METADATA_MARK.len()) as u64;
        let mut pages = Pages::new(file, len);
        let metadata = Decoder { pages: &mut pages, base: metadata_at, parts: 0 }.value(metadata_at, 0)?.0;
        let number = |key: &str| metadata.get(key).and_then(Value::unsigned).ok_or(Error::Damaged("metadata"));
        let (node_count, record_bits) = (number("node_count")?, number("record_size")?);
        if !matches!(record_bits, 24 | 28 | 32) {
            return Err(Error::Damaged("record size"));
        }
        let tree_bytes = node_count.checked_mul(record_bits / 4).ok_or(Error::Damaged("node count"))?;
        if tree_bytes.saturating_add(SEPARATOR_BYTES) > metadata_at {
            return Err(Error::Damaged("node count"));
        }
        let kind = match metadata.get("database_type") {
            Some(Value::Text(kind)) => kind.clone(),
            _ => String::new(),
        };
        let mut database = Self { pages, node_count, record_bits, tree_bytes, ipv4_root: None, kind };
        if number("ip_version")? == 6 {
            let mut node = 0;
            for _ in 0..96 {
                if node < node_count {
                    node = database.child(node, 0)?;
                }
            }
            database.ipv4_root = Some(node);
        }
        Ok(database)
    }

    /// What is known of an address.
    ///
    /// # Errors
    /// Damage.
    pub fn lookup(&mut self, address: IpAddr) -> Result<Option<Value>, Error> {
        let (mut node, bits, count) = match (address.to_canonical(), self.ipv4_root) {
            (IpAddr::V4(address), root) => (root.unwrap_or(0), u128::from(u32::from(address)) << 96, 32),
            (IpAddr::V6(_), None) => return Ok(None),
            (IpAddr::V6(address), Some(_)) => (0, u128::from(address), 128),
        };
        for depth in 0..count {
            if node >= self.node_count {
                break;
            }
            node = self.child(node, (bits >> (127 - depth) & 1) as u64)?;
        }
        if node == self.node_count {
            return Ok(None);
        }
        if node < self.node_count + SEPARATOR_BYTES {
            return Err(Error::Damaged("search tree"));
        }
        let base = self.tree_bytes + SEPARATOR_BYTES;
        let at = base + (node - self.node_count - SEPARATOR_BYTES);
        Ok(Some(Decoder { pages: &mut self.pages, base, parts: 0 }.value(at, 0)?.0))
    }

    fn child(&mut self, node: u64, side: u64) -> Result<u64, Error> {
        let node_bytes = self.record_bits / 4;
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..node_bytes as usize];
        self.pages.read(node * node_bytes, bytes)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(match (self.record_bits, side) {
            // The fourth byte holds the upper halves of both.
            (28, 0) => u64::from(bytes[3] >> 4) << 24 | number(&bytes[..3]),
            (28, _) => u64::from(bytes[3] & 15) << 24 | number(&bytes[4..]),
            (_, 0) => number(&bytes[..bytes.len() / 2]),
            (..) => number(&bytes[bytes.len() / 2..]),
        })
    }
}

struct Decoder<'d> {
    pages: &'d mut Pages,
    /// Pointers count from here.
    base: u64,
    parts: usize,
}

impl Decoder<'_> {
    /// The value at `at`, and where the next one begins.
    fn value(&mut self, at: u64, depth: usize) -> Result<(Value, u64), Error> {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            return Err(Error::Damaged("a value without end"));
        }
        let control = self.number(at, 1)?;
        let (mut kind, mut next) = (control >> 5, at + 1);
        if kind == 1 {
            let (width, low) = ((control >> 3 & 3) + 1, control & 7);
            let rest = self.number(next, width)?;
            // Each width begins where the one before ends.
            let target = match width {
                1 => low << 8 | rest,
                2 => (low << 16 | rest) + 2048,
                3 => (low << 24 | rest) + 526_336,
                _ => rest,
            };
            let (value, _) = self.value(self.base + target, depth + 1)?;
            return Ok((value, next + width));
        }
        if kind == 0 {
            kind = 7 + self.number(next, 1)?;
            next += 1;
        }
        let size = match control & 31 {
            short @ 0..=28 => short,
            long => {
                let width = long - 28;
                let size = self.number(next, width)? + [29, 285, 65_821][width as usize - 1];
                next += width;
                size
            }
        };
        let value = match kind {
            2 => Value::Text(String::from_utf8_lossy(&self.bytes(next, size)?).into_owned()),
            3 if size == 8 => Value::Float(f64::from_bits(self.number(next, 8)?)),
            15 if size == 4 => Value::Float(f64::from(f32::from_bits(self.number(next, 4)? as u32))),
            3 | 15 => return Err(Error::Damaged("a number's size")),
            5 | 6 | 9 if size <= 8 => Value::Unsigned(self.number(next, size)?),
            7 => {
                let mut pairs = Vec::new();
                for _ in 0..size {
                    let (key, after) = self.value(next, depth + 1)?;
                    let (value, after) = self.value(after, depth + 1)?;
                    let Value::Text(key) = key else { return Err(Error::Damaged("a key")) };
                    pairs.push((key, value));
                    next = after;
                }
                return Ok((Value::Map(pairs), next));
            }
            11 => {
                let mut values = Vec::new();
                for _ in 0..size {
                    let (value, after) = self.value(next, depth + 1)?;
                    values.push(value);
                    next = after;
                }
                return Ok((Value::Array(values), next));
            }
            // A boolean's size is its value.
            14 => return Ok((Value::Other, next)),
            4 | 8 | 10 => Value::Other,
            _ => return Err(Error::Damaged("a value's kind")),
        };
        Ok((value, next + size))
    }

    fn bytes(&mut self, at: u64, len: u64) -> Result<Vec<u8>, Error> {
        if at.saturating_add(len) > self.pages.len {
            return Err(Error::Damaged("it ends early"));
        }
        let mut bytes = vec![0; len as usize];
        self.pages.read(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Big endian, of up to 8 bytes.
    fn number(&mut self, at: u64, len: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..len as usize];
        self.pages.read(at, bytes)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// Pages of a file; each has one slot, which the next page of that slot takes over.
struct Pages {
    file: File,
    len: u64,
    slots: Vec<(u64, Vec<u8>)>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pages of {} bytes", self.len)
    }
}

impl Pages {
    fn new(file: File, len: u64) -> Self {
        Self { file, len, slots: vec![(u64::MAX, Vec::new()); PAGES] }
    }

    fn read(&mut self, mut at: u64, mut out: &mut [u8]) -> Result<(), Error> {
        if at.checked_add(out.len() as u64).is_none_or(|end| end > self.len) {
            return Err(Error::Damaged("it ends early"));
        }
        while !out.is_empty() {
            let (number, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let slot = &mut self.slots[(number % PAGES as u64) as usize];
            if slot.0 != number {
                let start = number * PAGE_BYTES as u64;
                slot.0 = u64::MAX;
                slot.1.resize((self.len - start).min(PAGE_BYTES as u64) as usize, 0);
                self.file.read_exact_at(&mut slot.1, start)?;
                slot.0 = number;
            }
            let count = (slot.1.len() - within).min(out.len());
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&slot.1[within..within + count]);
            out = later;
            at += count as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn path(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/testdata").join(format!("{name}.mmdb"))
    }

    /// As JSON, what we do not keep left out.
    fn json(value: &Value) -> serde_json::Value {
        match value {
            Value::Text(text) => text.clone().into(),
            Value::Float(number) => (*number).into(),
            Value::Unsigned(number) => (*number).into(),
            Value::Map(pairs) => pairs
                .iter()
                .filter(|(_, value)| *value != Value::Other)
                .map(|(key, value)| (key.clone(), json(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Array(values) => values.iter().map(json).collect::<Vec<_>>().into(),
            Value::Other => serde_json::Value::Null,
        }
    }

    fn without_booleans(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => map
                .into_iter()
                .filter(|(_, value)| !value.is_boolean())
                .map(|(key, value)| (key, without_booleans(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            serde_json::Value::Array(values) => values.into_iter().map(without_booleans).collect::<Vec<_>>().into(),
            other => other,
        }
    }

    #[track_caller]
    fn agrees(ours: &mut Database, theirs: &maxminddb::Reader<Vec<u8>>, address: IpAddr) -> bool {
        let got = ours.lookup(address).unwrap();
        let want = theirs.lookup(address).unwrap().decode::<serde_json::Value>().unwrap();
        assert_eq!(got.as_ref().map(json), want.map(without_booleans), "{address}");
        got.is_some()
    }

    #[test]
    fn finds_what_the_reader_of_maxmind_finds() {
        for name in ["GeoLite2-City-Test", "GeoLite2-ASN-Test"] {
            let mut ours = Database::open(&path(name)).unwrap();
            let theirs = maxminddb::Reader::open_readfile(path(name)).unwrap();
            let mut found = 0;
            for network in theirs.networks(Default::default()).unwrap() {
                let network = network.unwrap().network().unwrap();
                found += u32::from(agrees(&mut ours, &theirs, network.ip()));
            }
            assert!(found > 50, "{name}: the test proves little: {found}");
            // Addresses with nothing, mostly.
            for number in (0..1 << 24).step_by(9973) {
                agrees(&mut ours, &theirs, Ipv4Addr::from(number << 8 | 1u32).into());
                agrees(&mut ours, &theirs, Ipv6Addr::from(u128::from(number) << 104).into());
            }
        }
    }

    #[test]
    fn damage_is_an_error() {
        for name in ["GeoIP2-City-Test-Invalid-Node-Count", "MaxMind-DB-test-broken-pointers-24"] {
            let outcome = Database::open(&path(name)).and_then(|mut database| {
                (0..=255).try_for_each(|last| database.lookup(Ipv4Addr::new(1, 1, 1, last).into()).map(drop))
            });
            assert!(outcome.is_err(), "{name}");
        }
        let mut empty = tempfile::NamedTempFile::new().unwrap();
        assert!(Database::open(empty.path()).is_err());
        empty.write_all(b"text, no database").unwrap();
        assert!(Database::open(empty.path()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_damage_is_fatal(flips in prop::collection::vec((any::<u16>(), any::<u8>()), 1..20), keep in any::<u16>()) {
            let mut bytes = std::fs::read(path("MaxMind-DB-test-broken-pointers-24")).unwrap();
            let len = bytes.len();
            flips.iter().for_each(|(at, value)| bytes[usize::from(*at) % len] = *value);
            if keep % 3 == 0 {
                bytes.truncate(usize::from(keep) % len);
            }
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            if let Ok(mut database) = Database::open(file.path()) {
                for last in 0..=255 {
                    let _ = database.lookup(Ipv4Addr::new(1, 1, 1, last).into());
                    let _ = database.lookup(Ipv6Addr::from(u128::from(last) << 8).into());
                }
            }
        }
    }
}
