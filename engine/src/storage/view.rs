//! What there is to read at one moment: memtables and parts. Replaced as a whole, so that a reader sees a row either
//! in a memtable or in a part, never in both and never in none.

use std::sync::Arc;

use super::memtable::Memtable;
use super::part::{Part, PartId};

/// See the module. Immutable, but that the newest memtable grows.
#[derive(Clone, Default)]
pub struct View {
    /// Oldest first; the last one takes the appends.
    pub memtables: Vec<Arc<Memtable>>,
    /// By day, then by age of the rows: rows of a later part of a day arrived later.
    pub parts: Vec<Arc<Part>>,
}

impl View {
    /// This view with other parts.
    pub fn with_parts(&self, removed: &[PartId], added: impl IntoIterator<Item = Arc<Part>>) -> Self {
        let mut next = self.clone();
        next.parts.retain(|part| !removed.contains(&part.id));
        next.parts.extend(added);
        next.parts.sort_by_key(|part| (part.footer.day, part.footer.generations, part.id));
        next
    }

    /// This view without a memtable.
    pub fn without_memtable(&self, gone: &Arc<Memtable>) -> Self {
        let mut next = self.clone();
        next.memtables.retain(|memtable| !Arc::ptr_eq(memtable, gone));
        next
    }
}
