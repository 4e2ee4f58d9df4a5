//! What a start does: finds the live parts, removes leftovers, and brings the log back into memory.
//!
//! A crash at any instant leaves one of these, and all of them end the same: a temporary file, a part that no record
//! names, a log whose rows are in parts already (its segments lie before the cut), a torn end. Doing it twice changes
//! nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tracing::{error, warn};

use super::disk::Disk;
use super::error::{Error, Result};
use super::manifest::{self, State};
use super::part::{Day, Part, PartId, part_path};
use super::quarantine::Quarantine;
use super::shared::Layout;
use super::streams::Registry;

/// What was found on disk.
pub struct Recovered {
    /// What the manifest should say.
    pub state: State,
    /// The live parts, open.
    pub parts: Vec<Arc<Part>>,
    /// Parts that the manifest names and that are missing or damaged.
    pub lost_parts: u64,
}

/// Finds the live parts. Damaged ones are put into quarantine.
pub fn recover(disk: &dyn Disk, layout: &Layout, quarantine: &Quarantine, registry: &Registry) -> Result<Recovered> {
    let files = list_parts(disk, &layout.days)?;
    let found = manifest::read(disk, &layout.manifest)?;
    let (mut state, is_whole) = match found {
        Some(found) => {
            if let Some(problem) = &found.problem {
                error!(path = %layout.manifest.display(), problem, "the manifest is damaged: keeping every part found");
                let bytes = disk.read(&layout.manifest).map_err(Error::io("read", &layout.manifest))?;
                quarantine.copy(&layout.manifest, &bytes);
            }
            (found.state, found.problem.is_none())
        }
        // Without a manifest there are no parts; if there are, somebody lost the manifest.
        None => (State::default(), files.is_empty()),
    };
    if !is_whole {
        // What was deleted may come back, what was stored does not get lost: equal rows are read once.
        state.parts = files.clone();
    }
    let mut recovered = Recovered { parts: Vec::new(), lost_parts: 0, state };
    for (&id, &day) in &files {
        if !recovered.state.parts.contains_key(&id) {
            let path = part_path(&layout.days, day, id);
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    for (id, day) in recovered.state.parts.clone() {
        let path = part_path(&layout.days, day, id);
        let opened = match files.contains_key(&id) {
            true => Part::open(disk, &path, id, registry),
            false => Err(Error::damaged(&path, "the file is missing")),
        };
        let state = &mut recovered.state;
        match opened {
            Ok(part) => {
                state.next_part = state.next_part.max(id.0 + 1);
                state.next_generation = state.next_generation.max(part.footer.generations.1 + 1);
                recovered.parts.push(part);
            }
            Err(err) if err.is_damage() => {
                error!(path = %path.display(), error = %err, "a part is lost");
                recovered.lost_parts += 1;
                state.parts.remove(&id);
                if files.contains_key(&id) {
                    quarantine.take(&path);
                }
            }
            Err(err) => return Err(err),
        }
    }
    if !is_whole {
        drop_merged_inputs(&mut recovered);
    }
    Ok(recovered)
}

/// Without a whole manifest, inputs of a merge are found beside its output. Their rows are in it.
fn drop_merged_inputs(recovered: &mut Recovered) {
    let covers = |big: &Part, small: &Part| {
        let (a, b) = (&big.footer, &small.footer);
        let is_wider = a.generations.1 - a.generations.0 > b.generations.1 - b.generations.0;
        a.day == b.day && is_wider && a.generations.0 <= b.generations.0 && b.generations.1 <= a.generations.1
    };
    let parts = std::mem::take(&mut recovered.parts);
    recovered.parts = parts.iter().filter(|part| !parts.iter().any(|other| covers(other, part))).cloned().collect();
    recovered.state.parts.retain(|id, _| recovered.parts.iter().any(|part| part.id == *id));
}

/// All part files by id. Temporary files and empty folders are removed.
fn list_parts(disk: &dyn Disk, days_dir: &Path) -> Result<BTreeMap<PartId, Day>> {
    let mut found = BTreeMap::new();
    for folder in disk.list(days_dir).map_err(Error::io("list", days_dir))? {
        let Some(day) = Day::parse(&folder.name).filter(|_| folder.is_dir) else { continue };
        let dir = days_dir.join(&folder.name);
        let entries = disk.list(&dir).map_err(Error::io("list", &dir))?;
        let mut kept = 0;
        for entry in &entries {
            let path = dir.join(&entry.name);
            let id = entry.name.strip_suffix(".part").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            if let Some(id) = id {
                found.insert(PartId(id), day);
            } else if entry.name.ends_with(".tmp") {
                disk.remove(&path).map_err(Error::io("remove", &path))?;
                continue;
            } else {
                warn!(path = %path.display(), "a file that is not ours lies among the parts");
            }
            kept += 1;
        }
        if kept == 0 {
            // Not worth failing a start.
            let _ = disk.remove_dir(&dir);
        }
    }
    Ok(found)
}
