//! Structured metadata: the distinct sets of a block, and which set each row has.
//!
//! ```text
//! sets := count name_count name* set*        set 0, the empty one, is left out; strings are length and bytes
//! name := string
//! set  := pair_count (name_index value:string)*
//! ids  := u8* | u16le planes | u32le planes   encoding = bytes of an id; a block whose rows all have set 0 has neither
//! ```

use std::sync::Arc;

use super::error::{Error, Result, damaged};
use crate::model::{MetadataSet, MetadataSets};
use crate::storage::wire::{Reader, put_bytes, put_varint};

/// Writes the sets that `ids` uses, in order of first use, and renumbers `ids` to them (0 stays the empty set).
pub(crate) fn encode_sets(sets: &MetadataSets, ids: &mut [u32], out: &mut Vec<u8>) -> usize {
    let mut renumbered = vec![0_u32; sets.len()];
    let mut used = Vec::new();
    for id in ids {
        if *id != 0 {
            let new = &mut renumbered[*id as usize];
            if *new == 0 {
                used.push(*id);
                *new = used.len() as u32;
            }
            *id = *new;
        }
    }
    let mut names = indexmap_of_names(used.iter().map(|&id| sets.get(id)));
    put_varint(out, used.len() as u64);
    put_varint(out, names.len() as u64);
    names.sort_unstable();
    for name in &names {
        put_bytes(out, name.as_bytes());
    }
    for &id in &used {
        let set = sets.get(id);
        put_varint(out, set.len() as u64);
        for (name, value) in set {
            let index = names.binary_search(name).expect("collected above");
            put_varint(out, index as u64);
            put_bytes(out, value.as_bytes());
        }
    }
    used.len()
}

/// The distinct names, unsorted.
fn indexmap_of_names<'a>(sets: impl Iterator<Item = &'a MetadataSet>) -> Vec<Arc<str>> {
    let mut names = hashbrown::HashSet::new();
    for (name, _) in sets.flatten() {
        if !names.contains(name) {
            names.insert(name.clone());
        }
    }
    names.into_iter().collect()
}

/// The sets of a block, by id; the first is the empty one.
pub(crate) fn decode_sets(bytes: &[u8]) -> Result<Vec<MetadataSet>> {
    let mut reader = Reader::new(bytes);
    let count = reader.size(bytes.len())?;
    let name_count = reader.size(bytes.len())?;
    let mut names: Vec<Arc<str>> = Vec::with_capacity(name_count);
    for _ in 0..name_count {
        names.push(text(reader.bytes()?)?);
    }
    let mut sets = Vec::with_capacity(count + 1);
    sets.push(MetadataSet::new());
    for _ in 0..count {
        let mut set = MetadataSet::new();
        for _ in 0..reader.size(bytes.len())? {
            let name = names.get(reader.size(bytes.len())?).ok_or(damaged("metadata name is missing"))?;
            if set.last().is_some_and(|(last, _)| last >= name) {
                return Err(damaged("metadata is not sorted"));
            }
            set.push((name.clone(), text(reader.bytes()?)?));
        }
        sets.push(set);
    }
    Ok(sets)
}

fn text(bytes: &[u8]) -> Result<Arc<str>> {
    std::str::from_utf8(bytes).map(Arc::from).map_err(|_| damaged("metadata is not UTF-8"))
}

/// Appends ids in byte planes and returns the encoding: how many bytes an id has.
pub(crate) fn encode_ids(ids: &[u32], set_count: usize, out: &mut Vec<u8>) -> u8 {
    let width = if set_count < 1 << 8 {
        1
    } else if set_count < 1 << 16 {
        2
    } else {
        4
    };
    for plane in 0..width {
        out.extend(ids.iter().map(|id| (id >> (plane * 8)) as u8));
    }
    width as u8
}

/// Inverse of [`encode_ids`]; every id is below `set_count`.
pub(crate) fn decode_ids(encoding: u8, bytes: &[u8], rows: usize, set_count: usize) -> Result<Vec<u32>> {
    if !matches!(encoding, 1 | 2 | 4) {
        return Err(Error::Unknown { what: "metadata id encoding", id: encoding });
    }
    if bytes.len() != rows * usize::from(encoding) {
        return Err(damaged("metadata ids are missing"));
    }
    let mut ids = vec![0_u32; rows];
    for (plane, bytes) in bytes.chunks_exact(rows).enumerate() {
        for (id, &byte) in ids.iter_mut().zip(bytes) {
            *id |= u32::from(byte) << (plane * 8);
        }
    }
    if ids.iter().any(|&id| id as usize >= set_count) {
        return Err(damaged("metadata id has no set"));
    }
    Ok(ids)
}
