//! A record of the disk buffer: entries of one tenant that were written and synced together.
//!
//! ```text
//! segment := record*
//! record  := header payload
//! header  := magic:[u8; 4] payload_len:u32le entries:u32le payload_hash:u64le header_hash:u32le
//! payload := snappy(entry*)
//! entry   := stream:u32le labels? timestamp_ns:i64le line:text metadata:pairs
//! labels  := pairs                  there when `stream` has not come before in this record
//! pairs   := count:u16le (name:text value:text)*           text := len:u32le bytes
//! ```
//!
//! Both hashes are XXH3's. Damage costs that record and no other. Behind damage the next magic with a sound header goes on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use logstack_logql::Labels;
use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"LsB1";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 24;
/// Largest payload before compression: the largest entry that is buffered.
pub const RAW_BYTES_MAX: usize = 64 << 20;
/// Bytes that are searched at a time for the next record behind damage.
const SEARCH_BYTES: usize = 64 << 10;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    payload_len: u32,
    /// Entries of the record.
    pub entries: u32,
    payload_hash: u64,
}

impl Header {
    /// Bytes of header and payload.
    pub fn record_len(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.payload_len)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.entries.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.payload_hash.to_le_bytes());
        let hash = xxh3_64(&bytes[..20]) as u32;
        bytes[20..].copy_from_slice(&hash.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        let magic = rest.take(4)?;
        let (payload_len, entries) = (rest.u32()?, rest.u32()?);
        let payload_hash = u64::from_le_bytes(rest.array()?);
        let is_sound = magic == MAGIC && xxh3_64(&bytes[..20]) as u32 == rest.u32()?;
        is_sound.then_some(Self { payload_len, entries, payload_hash })
    }
}

/// Collects the entries of a record.
#[derive(Debug, Default)]
pub struct Builder {
    raw: Vec<u8>,
    streams: HashMap<Labels, u32>,
    /// Lines of one source come in runs.
    last: Option<(Labels, u32)>,
    entries: u32,
}

impl Builder {
    /// Appends an entry.
    pub fn add(&mut self, labels: &Labels, timestamp_ns: i64, line: &[u8], metadata: &[(String, String)]) {
        let stream = match &self.last {
            Some((known, stream)) if known.ptr_eq(labels) => *stream,
            _ => {
                let next = self.streams.len() as u32;
                let stream = *self.streams.entry(labels.clone()).or_insert(next);
                self.last = Some((labels.clone(), stream));
                if stream == next {
                    self.raw.extend_from_slice(&stream.to_le_bytes());
                    pairs(labels.iter(), &mut self.raw);
                    return self.finish_entry(timestamp_ns, line, metadata);
                }
                stream
            }
        };
        self.raw.extend_from_slice(&stream.to_le_bytes());
        self.finish_entry(timestamp_ns, line, metadata);
    }

    fn finish_entry(&mut self, timestamp_ns: i64, line: &[u8], metadata: &[(String, String)]) {
        self.raw.extend_from_slice(&timestamp_ns.to_le_bytes());
        text(line, &mut self.raw);
        pairs(metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())), &mut self.raw);
        self.entries += 1;
    }

    /// Bytes collected, before compression.
    pub fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// Entries collected.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// The record.
    pub fn encode(&self) -> Vec<u8> {
        let payload = match snap::raw::Encoder::new().compress_vec(&self.raw) {
            Ok(payload) => payload,
            // Snappy's only limit is 4 GiB a block; a record is bounded far below.
            Err(err) => unreachable!("a record of {} bytes cannot be compressed: {err}", self.raw.len()),
        };
        let header = Header {
            payload_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            entries: self.entries,
            payload_hash: xxh3_64(&payload),
        };
        [&header.encode()[..], &payload].concat()
    }

    /// Forgets all entries, keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.streams.clear();
        self.last = None;
        self.entries = 0;
    }
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    // An entry is bounded by `RAW_BYTES_MAX`.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn pairs<'p>(pairs: impl ExactSizeIterator<Item = (&'p str, &'p str)>, out: &mut Vec<u8>) {
    let count = u16::try_from(pairs.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    for (name, value) in pairs.take(usize::from(count)) {
        text(name.as_bytes(), out);
        text(value.as_bytes(), out);
    }
}

/// What a payload held does not make sense, though its hash is right.
#[derive(Debug, PartialEq, Eq)]
pub struct Damaged;

/// Takes an entry: labels, time, line, structured metadata.
pub type Each<'e> = dyn FnMut(&Labels, i64, &[u8], &[(String, String)]) + 'e;

/// Hands out the entries of a payload.
///
/// # Errors
/// A payload that was not written by [`Builder`]; entries before the damage were handed out.
pub fn decode_entries(payload: &[u8], each: &mut Each<'_>) -> Result<(), Damaged> {
    if snap::raw::decompress_len(payload).map_err(|_| Damaged)? > RAW_BYTES_MAX + SEARCH_BYTES {
        return Err(Damaged);
    }
    let raw = snap::raw::Decoder::new().decompress_vec(payload).map_err(|_| Damaged)?;
    let mut rest = Bytes(&raw);
    let mut streams: Vec<Labels> = Vec::new();
    while !rest.0.is_empty() {
        entry(&mut rest, &mut streams, each).ok_or(Damaged)?;
    }
    Ok(())
}

fn entry(rest: &mut Bytes<'_>, streams: &mut Vec<Labels>, each: &mut Each<'_>) -> Option<()> {
    let stream = rest.u32()? as usize;
    if stream == streams.len() {
        streams.push(Labels::from_pairs(rest.pairs()?));
    }
    let timestamp_ns = i64::from_le_bytes(rest.array()?);
    let line = rest.text()?;
    let metadata = rest.pairs()?;
    each(streams.get(stream)?, timestamp_ns, line, &metadata);
    Some(())
}

/// What lies at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A record with a sound header; its payload is not looked at.
    Record(Header),
    /// Nothing that can be read up to `to`.
    Damage {
        /// Where a record follows, or the end.
        to: u64,
        /// Entries that are known to be lost.
        entries: u32,
    },
    /// Nothing more.
    End,
}

/// What lies at `at` of a segment that ends at `end`.
///
/// # Errors
/// A disk that cannot be read.
pub fn find(file: &File, at: u64, end: u64) -> io::Result<Found> {
    if at >= end {
        return Ok(Found::End);
    }
    let mut bytes = [0; HEADER_BYTES];
    if end - at < HEADER_BYTES as u64 {
        return Ok(Found::Damage { to: end, entries: 0 });
    }
    file.read_exact_at(&mut bytes, at)?;
    match Header::decode(&bytes) {
        Some(header) if header.record_len() <= end - at => Ok(Found::Record(header)),
        // Torn: the process ended while it was written.
        Some(header) => Ok(Found::Damage { to: search(file, at + HEADER_BYTES as u64, end)?, entries: header.entries }),
        None => Ok(Found::Damage { to: search(file, at + 1, end)?, entries: 0 }),
    }
}

/// The next place with a sound header, or `end`.
fn search(file: &File, mut at: u64, end: u64) -> io::Result<u64> {
    let mut window = vec![0; SEARCH_BYTES];
    while end.saturating_sub(at) >= HEADER_BYTES as u64 {
        let len = (end - at).min(SEARCH_BYTES as u64) as usize;
        file.read_exact_at(&mut window[..len], at)?;
        for place in memmem::find_iter(&window[..len], &MAGIC) {
            let (place, mut bytes) = (at + place as u64, [0; HEADER_BYTES]);
            if end - place < HEADER_BYTES as u64 {
                return Ok(end);
            }
            file.read_exact_at(&mut bytes, place)?;
            if Header::decode(&bytes).is_some() {
                return Ok(place);
            }
        }
        // A magic may lie across two windows.
        at += (len - (MAGIC.len() - 1)) as u64;
    }
    Ok(end)
}

/// Where to go on behind the record at `at`, whose payload is damaged: it may have been cut, so its length is not believed.
///
/// # Errors
/// A disk that cannot be read.
pub fn behind_damage(file: &File, at: u64, end: u64) -> io::Result<u64> {
    search(file, at + HEADER_BYTES as u64, end)
}

/// The payload behind the header at `at`; `None` when it is damaged.
///
/// # Errors
/// A disk that cannot be read.
pub fn read_payload(file: &File, at: u64, header: &Header) -> io::Result<Option<Vec<u8>>> {
    let mut payload = vec![0; header.payload_len as usize];
    file.read_exact_at(&mut payload, at + HEADER_BYTES as u64)?;
    Ok((xxh3_64(&payload) == header.payload_hash).then_some(payload))
}

/// Entries of the records in `at..end`, by their headers.
pub fn count_entries(file: &File, mut at: u64, end: u64) -> u64 {
    let mut count = 0;
    loop {
        match find(file, at, end) {
            Ok(Found::Record(header)) => {
                count += u64::from(header.entries);
                at += header.record_len();
            }
            Ok(Found::Damage { to, entries }) => {
                count += u64::from(entries);
                at = to;
            }
            // What cannot be read is counted where it is read.
            Ok(Found::End) | Err(_) => return count,
        }
    }
}

/// Bytes that are taken from the front.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Option<&'b [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    fn pairs(&mut self) -> Option<Vec<(String, String)>> {
        let count = u16::from_le_bytes(self.array()?);
        let mut text = || String::from_utf8(self.text()?.to_vec()).ok();
        (0..count).map(|_| Some((text()?, text()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn record(lines: &[&str]) -> Vec<u8> {
        let mut builder = Builder::default();
        let labels = Labels::from_pairs([("app", "web")]);
        lines.iter().for_each(|line| builder.add(&labels, 7, line.as_bytes(), &[]));
        builder.encode()
    }

    /// Lines that are found in a segment, and the entries that are known to be lost.
    fn read(segment: &[u8]) -> (Vec<String>, u32) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(segment).unwrap();
        let (mut at, mut lines, mut lost) = (0, Vec::new(), 0);
        loop {
            match find(&file, at, segment.len() as u64).unwrap() {
                Found::End => return (lines, lost),
                Found::Damage { to, entries } => (at, lost) = (to, lost + entries),
                Found::Record(header) => {
                    match read_payload(&file, at, &header).unwrap() {
                        Some(payload) => decode_entries(&payload, &mut |_, _, line, _| {
                            lines.push(String::from_utf8_lossy(line).into_owned());
                        })
                        .unwrap(),
                        None => {
                            lost += header.entries;
                            at = behind_damage(&file, at, segment.len() as u64).unwrap();
                            continue;
                        }
                    }
                    at += header.record_len();
                }
            }
        }
    }

    #[test]
    fn damage_costs_the_record_that_it_hits() {
        let records = [record(&["a1", "a2"]), record(&["b"]), record(&["c"])];
        let whole = records.concat();
        assert_eq!(read(&whole), (vec!["a1".into(), "a2".into(), "b".into(), "c".into()], 0));
        let second = records[0].len();
        #[track_caller]
        fn check(mut segment: Vec<u8>, flip: Option<usize>, keep: usize, want: &[&str], lost: u32) {
            if let Some(at) = flip {
                segment[at] ^= 4;
            }
            segment.truncate(keep);
            let want: Vec<String> = want.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(read(&segment), (want, lost));
        }
        check(whole.clone(), Some(HEADER_BYTES + 1), whole.len(), &["b", "c"], 2);
        check(whole.clone(), Some(0), whole.len(), &["b", "c"], 0);
        check(whole.clone(), Some(second + 5), whole.len(), &["a1", "a2", "c"], 0);
        check(whole.clone(), Some(second + HEADER_BYTES), whole.len(), &["a1", "a2", "c"], 1);
        check(whole.clone(), None, whole.len() - 1, &["a1", "a2", "b"], 1);
        check(whole.clone(), None, second + 3, &["a1", "a2"], 0);
        check(whole, None, second, &["a1", "a2"], 0);
    }

    #[test]
    fn a_torn_record_does_not_hide_what_was_written_behind_it() {
        let (first, second) = (record(&["a"]), record(&["b"]));
        let segment = [&first[..first.len() - 2], &second].concat();
        assert_eq!(read(&segment).0, ["b"]);
    }

    type Given = (u8, i64, Vec<u8>, Vec<(String, String)>);
    type Got = (String, i64, Vec<u8>, Vec<(String, String)>);

    proptest! {
        #[test]
        fn what_is_written_is_read(given in prop::collection::vec(any::<Given>(), 0..20)) {
            let mut builder = Builder::default();
            let labels = |idx: u8| Labels::from_pairs([("s".to_owned(), (idx % 3).to_string())]);
            for (idx, time, line, metadata) in &given {
                builder.add(&labels(*idx), *time, line, metadata);
            }
            let record = builder.encode();
            let mut got: Vec<Got> = Vec::new();
            decode_entries(&record[HEADER_BYTES..], &mut |labels, time, line, metadata| {
                got.push((labels.to_string(), time, line.to_vec(), metadata.to_vec()));
            }).unwrap();
            let want: Vec<_> = given.into_iter().map(|(idx, t, l, m)| (labels(idx).to_string(), t, l, m)).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let _ = decode_entries(&bytes, &mut |_, _, _, _| {});
            let mut segment = record(&["x", "y"]);
            segment.extend_from_slice(&record(&["z"]));
            let at = at % segment.len();
            let end = (at + bytes.len()).min(segment.len());
            segment[at..end].copy_from_slice(&bytes[..end - at]);
            let (lines, _) = read(&segment);
            prop_assert!(lines.iter().all(|line| ["x", "y", "z"].contains(&line.as_str())));
        }
    }
}
