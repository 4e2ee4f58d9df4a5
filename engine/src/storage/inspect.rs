//! What a data directory holds, and whether all of it checks out. Reads only and takes no lock, so it may be asked beside
//! a running store: a file that goes while it is looked at was merged, not lost.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::codec::section::SectionKind;
use super::deletes;
use super::disk::Disk;
use super::error::{Error, Result};
use super::manifest::{self, State};
use super::part::{Day, Depth, Footer, Part, PartId, part_path};
use super::shared::Layout;
use super::streams::Registry;
use super::wal::segment::{Found, HEADER_BYTES, walk};
use super::wal::{SegmentNo, parse_segment_name, record, segment_path};
use crate::model::{Stream, TimeRange};

/// A store may be in the midst of a write: what looks torn is looked at again.
const MANIFEST_ATTEMPTS: u32 = 4;
const MANIFEST_PAUSE: Duration = Duration::from_millis(50);

/// What was found.
#[derive(Default)]
pub struct Inspection {
    /// What the manifest says; `None` without one.
    pub state: Option<State>,
    /// Live parts that could be opened, by day and id.
    pub parts: Vec<PartReport>,
    /// Segments of the log that are still needed.
    pub segments: Vec<SegmentReport>,
    /// Delete requests, processed ones included.
    pub delete_requests: usize,
    /// Names and lengths in `quarantine/`.
    pub quarantined: Vec<(String, u64)>,
    /// Files that the next start removes: what a crash or a running write has left. No damage.
    pub leftovers: Vec<PathBuf>,
    /// What does not check out.
    pub problems: Vec<Error>,
}

/// A live part.
pub struct PartReport {
    /// Its id.
    pub id: PartId,
    /// Where it is.
    pub path: PathBuf,
    /// Length of the file.
    pub file_bytes: u64,
    /// What it says about itself.
    pub footer: Footer,
    /// By stream, in the order of the file.
    pub streams: Vec<(Arc<Stream>, Vec<BlockReport>)>,
    /// Bytes by kind of section, packed and unpacked.
    pub sections: BTreeMap<SectionKind, (u64, u64)>,
}

/// A block of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockReport {
    /// Where it starts in the file.
    pub offset: u64,
    /// Rows.
    pub rows: u32,
    /// Bytes of their lines.
    pub line_bytes: u64,
    /// Bytes in the file.
    pub stored_bytes: u64,
    /// First and last timestamp.
    pub time: TimeRange,
}

/// A segment of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub number: SegmentNo,
    /// Length of the file.
    pub file_bytes: u64,
    /// Records that check out.
    pub records: u64,
    /// Bytes of a torn end; none of them were acknowledged, or they are being written now.
    pub torn_bytes: u64,
}

/// Looks at the data directory `dir`. Blocking.
///
/// # Errors
/// When it cannot be read at all, or was written by a newer version. Damage is no error: it is in
/// [`Inspection::problems`].
pub fn inspect(disk: &dyn Disk, dir: &Path, depth: Depth) -> Result<Inspection> {
    let layout = Layout::of(dir);
    let mut found = Inspection::default();
    let (state, problem) = read_manifest(disk, &layout)?;
    found.problems.extend(problem);
    let files = list_parts(disk, &layout, &mut found)?;
    // Without a manifest a start takes every part for live.
    let live = state.as_ref().map_or_else(|| files.clone(), |state| state.parts.clone());
    let registry = Registry::default();
    let mut gone = Vec::new();
    for (&id, &day) in &live {
        match inspect_part(disk, &layout, &registry, (id, day), depth, &mut found) {
            Err(err) if is_gone(&err) => gone.push((id, err)),
            Err(Error::Damaged { path, what }) => found.problems.push(Error::Damaged { path, what }),
            other => other?,
        }
    }
    if !gone.is_empty() {
        // Merged meanwhile, if the manifest does not name them any more.
        let now = read_manifest(disk, &layout)?.0.unwrap_or_default();
        let missing = gone.into_iter().filter(|(id, _)| now.parts.contains_key(id));
        found.problems.extend(missing.map(|(id, _)| {
            Error::damaged(&part_path(&layout.days, live[&id], id), "the manifest names it, and it is missing")
        }));
    }
    let unnamed = files.iter().filter(|(id, _)| !live.contains_key(id));
    found.leftovers.extend(unnamed.map(|(&id, &day)| part_path(&layout.days, day, id)));
    inspect_log(disk, &layout, state.as_ref().map_or(0, |state| state.wal_first), &registry, &mut found)?;
    match deletes::read(disk, &layout.deletes) {
        Ok(requests) => found.delete_requests = requests.len(),
        Err(err) if err.is_damage() => found.problems.push(err),
        Err(err) => return Err(err),
    }
    let quarantined = disk.list(&layout.quarantine).map_err(Error::io("list", &layout.quarantine))?;
    found.quarantined = quarantined.into_iter().map(|entry| (entry.name, entry.len)).collect();
    found.state = state;
    Ok(found)
}

fn is_gone(err: &Error) -> bool {
    matches!(err, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

fn read_manifest(disk: &dyn Disk, layout: &Layout) -> Result<(Option<State>, Option<Error>)> {
    let mut attempt = 1;
    loop {
        let Some(found) = manifest::read(disk, &layout.manifest)? else { return Ok((None, None)) };
        let Some(problem) = found.problem else { return Ok((Some(found.state), None)) };
        if attempt == MANIFEST_ATTEMPTS {
            // As a start would: what it says is not all.
            return Ok((None, Some(Error::damaged(&layout.manifest, problem))));
        }
        attempt += 1;
        std::thread::sleep(MANIFEST_PAUSE);
    }
}

fn list_parts(disk: &dyn Disk, layout: &Layout, found: &mut Inspection) -> Result<BTreeMap<PartId, Day>> {
    let mut parts = BTreeMap::new();
    for folder in disk.list(&layout.days).map_err(Error::io("list", &layout.days))? {
        let Some(day) = Day::parse(&folder.name).filter(|_| folder.is_dir) else { continue };
        let dir = layout.days.join(&folder.name);
        for entry in disk.list(&dir).map_err(Error::io("list", &dir))? {
            let id = entry.name.strip_suffix(".part").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            match id {
                Some(id) => drop(parts.insert(PartId(id), day)),
                None if entry.name.ends_with(".tmp") => found.leftovers.push(dir.join(&entry.name)),
                None => {}
            }
        }
    }
    Ok(parts)
}

fn inspect_part(
    disk: &dyn Disk,
    layout: &Layout,
    registry: &Registry,
    (id, day): (PartId, Day),
    depth: Depth,
    found: &mut Inspection,
) -> Result<()> {
    let path = part_path(&layout.days, day, id);
    let part = Part::open(disk, &path, id, registry)?;
    let (detail, problems) = part.check(depth);
    found.problems.extend(problems);
    let mut sections: BTreeMap<SectionKind, (u64, u64)> = BTreeMap::new();
    let metas = detail.as_ref().map_or(&[][..], |detail| &detail.metas);
    for section in metas.iter().flat_map(|meta| &meta.sections) {
        let sum = sections.entry(section.kind).or_default();
        sum.0 += u64::from(section.stored_bytes);
        sum.1 += u64::from(section.raw_bytes);
    }
    let block = |idx: usize| {
        let info = part.blocks()[idx];
        let stored_bytes = metas.get(idx).map_or(0, |meta| meta.stored_bytes());
        let (offset, rows, line_bytes, time) = (info.offset, info.rows, info.line_bytes, info.time);
        BlockReport { offset, rows, line_bytes, stored_bytes, time }
    };
    let streams = part.streams().iter().map(|own| (own.stream.clone(), own.blocks.clone().map(block).collect()));
    let streams = streams.collect();
    let (file_bytes, footer) = (part.file_bytes(), part.footer.clone());
    found.parts.push(PartReport { id, path, file_bytes, footer, streams, sections });
    Ok(())
}

fn inspect_log(
    disk: &dyn Disk,
    layout: &Layout,
    first: SegmentNo,
    registry: &Registry,
    found: &mut Inspection,
) -> Result<()> {
    let entries = disk.list(&layout.wal).map_err(Error::io("list", &layout.wal))?;
    let numbers = entries.iter().filter_map(|entry| parse_segment_name(&entry.name)).filter(|&number| number >= first);
    let mut torn: Vec<(SegmentNo, usize, u64)> = Vec::new();
    let mut newest_in_use = 0;
    for number in numbers {
        let path = segment_path(&layout.wal, number);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            // Flushed meanwhile.
            Err(err) if err.kind() == ErrorKind::NotFound => continue,
            Err(err) => return Err(Error::io("read", &path)(err)),
        };
        let mut report = SegmentReport { number, file_bytes: bytes.len() as u64, records: 0, torn_bytes: 0 };
        for piece in walk(number, &bytes) {
            match piece {
                Found::Record { offset, payload } => {
                    let decoded = record::decode(payload, |tenant, labels| registry.resolve(&tenant, &labels));
                    match decoded {
                        Ok(_) => report.records += 1,
                        Err(err) => {
                            found.problems.push(Error::damaged(&path, format!("record at {offset}: {}", err.0)));
                        }
                    }
                    newest_in_use = number;
                }
                Found::Damage { offset, len } => {
                    found.problems.push(Error::damaged(&path, format!("{len} bytes from {offset} on are no record")));
                }
                Found::Tail { offset } => {
                    report.torn_bytes = (bytes.len() - offset) as u64;
                    torn.push((number, offset, report.torn_bytes));
                }
            }
        }
        found.segments.push(report);
    }
    for (number, offset, len) in torn.into_iter().filter(|(number, ..)| *number < newest_in_use) {
        let what = match offset < HEADER_BYTES {
            true => "the header does not check out".to_owned(),
            false => format!("{len} bytes from {offset} on are no record, and later segments have some"),
        };
        found.problems.push(Error::damaged(&segment_path(&layout.wal, number), what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::disk::simulated::SimulatedDisk;
    use super::super::testing::{batch, stream};
    use super::super::{Environment, StorageOptions, Store};
    use super::*;
    use crate::model::TenantId;

    fn dir() -> &'static Path {
        Path::new("/data")
    }

    /// Two parts, one of them merged, rows in the log, and a delete request.
    fn disk() -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        let environment = Environment { disk: Arc::new(disk.clone()), ..Environment::default() };
        let merge = super::super::merge::MergeLimits { quick_age_ns: 0, ..Default::default() };
        let options =
            StorageOptions { background_merges: false, quick_bytes_per_s: 0, merge, ..StorageOptions::default() };
        let store = Store::open_in(environment, dir(), options).unwrap();
        let (api, web) = (stream(r#"app="api""#), stream(r#"app="web""#));
        let lines: Vec<(i64, String)> = (0..40)
            .map(|n| (n, format!("GET /sync/{n} by 7d1f3b52-4c1e-4f0e-9a55-0c2f5f6f1a{n:02x} in {n}ms")))
            .collect();
        let rows: Vec<(i64, &str)> = lines.iter().map(|(ns, line)| (*ns, line.as_str())).collect();
        for (idx, stream) in [&api, &web, &api].into_iter().enumerate() {
            futures::executor::block_on(store.append(batch(stream, &rows[idx * 10..]))).unwrap();
            if idx < 2 {
                store.flush().unwrap();
            }
            if idx == 0 {
                store.merge().unwrap();
            }
        }
        store.delete(&TenantId::new("fake"), r#"{app="web"} |= "sync/12""#, TimeRange::ALL).unwrap();
        disk
    }

    #[test]
    fn what_is_whole_has_no_problems() {
        let found = inspect(&disk(), dir(), Depth::Rows).unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!((found.parts.len(), found.delete_requests, found.leftovers.len()), (2, 1, 0));
        assert_eq!(found.segments.iter().map(|segment| segment.records).sum::<u64>(), 1);
        let rows = |part: &PartReport| part.streams.iter().flat_map(|own| &own.1).map(|block| block.rows).sum::<u32>();
        assert_eq!(found.parts.iter().map(rows).sum::<u32>(), 70);
        assert!(inspect(&SimulatedDisk::new(), dir(), Depth::Rows).unwrap().parts.is_empty());
    }

    /// True when damage shows, or the store would refuse to start.
    fn is_noticed(disk: &SimulatedDisk) -> bool {
        match inspect(disk, dir(), Depth::Checksums) {
            Ok(found) => !found.problems.is_empty() || found.segments.iter().any(|segment| segment.torn_bytes > 0),
            Err(err) => matches!(err, Error::Unknown { .. }),
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for (path, len) in disk().files() {
            for offset in (0..len).step_by(5) {
                let disk = disk_with(|disk| disk.flip(&path, offset));
                assert!(is_noticed(&disk), "{} at {offset}", path.display());
            }
        }
    }

    #[test]
    fn every_torn_file_is_found() {
        for (path, len) in disk().files() {
            let is_log = path.extension().is_some_and(|name| name == "wal");
            for keep in (0..len).step_by(17) {
                let disk = disk_with(|disk| disk.truncate(&path, keep as u64).unwrap());
                // An empty segment, or one cut between records, looks like one that was never written to.
                let is_whole = is_log && (keep == 0 || keep == HEADER_BYTES);
                assert!(is_whole || is_noticed(&disk), "{} cut to {keep}", path.display());
            }
        }
    }

    fn disk_with(change: impl FnOnce(&SimulatedDisk)) -> SimulatedDisk {
        let disk = disk();
        change(&disk);
        disk
    }

    #[test]
    fn a_missing_part_is_found() {
        let disk = disk();
        let (path, _) = disk.files().into_iter().find(|(path, _)| path.to_string_lossy().ends_with(".part")).unwrap();
        disk.remove(&path).unwrap();
        let found = inspect(&disk, dir(), Depth::Records).unwrap();
        assert_eq!(found.problems.len(), 1);
        assert!(found.problems[0].to_string().contains("missing"), "{}", found.problems[0]);
    }
}
