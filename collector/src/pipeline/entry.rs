//! An entry on its way through the stages. One is reused for all lines of a pipeline; a stage that keeps an entry back
//! takes a copy.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use logstack_logql::Labels;
use xxhash_rust::xxh3::Xxh3;

use super::Context;
use super::extracted::{Extracted, Kind, Value};
use crate::receipt::Receipt;

/// Name of the label that carries the tenant; it is never sent.
pub const TENANT_LABEL: &str = "__tenant_id__";

/// Label sets that are remembered per pipeline before the memory starts over.
const CACHED_SETS_MAX: usize = 10_000;

/// Where entries come from: a file (all its generations), a connection. Chosen by who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

/// The labels of an entry: those of its source, and what stages changed.
#[derive(Debug, Clone, Default)]
pub struct EntryLabels {
    base: Labels,
    /// Tells bases apart without comparing them.
    base_id: u64,
    changes: Vec<Change>,
    used: usize,
}

#[derive(Debug, Clone)]
struct Change {
    name: Arc<str>,
    /// Empty: the label is removed.
    value: String,
}

impl EntryLabels {
    /// Starts over with the labels of a source. `base_id` must differ for different labels.
    pub fn reset(&mut self, base: &Labels, base_id: u64) {
        if self.base_id != base_id || self.base.len() != base.len() {
            self.base = base.clone();
            self.base_id = base_id;
        }
        self.used = 0;
    }

    /// The value of `name`; empty when there is no such label.
    pub fn get(&self, name: &str) -> &str {
        match self.changes().iter().find(|change| *change.name == *name) {
            Some(change) => &change.value,
            None => self.base.get(name).unwrap_or_default(),
        }
    }

    /// Sets `name`; an empty value removes it.
    pub fn set(&mut self, name: &Arc<str>, value: &str) {
        let found = self.changes().iter().position(|change| change.name == *name);
        let idx = found.unwrap_or_else(|| {
            if self.used == self.changes.len() {
                self.changes.push(Change { name: name.clone(), value: String::new() });
            }
            self.changes[self.used].name = name.clone();
            self.used += 1;
            self.used - 1
        });
        let change = &mut self.changes[idx];
        change.value.clear();
        change.value.push_str(value);
    }

    /// Removes every label that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        for change in &mut self.changes[..self.used] {
            if !keep(&change.name) {
                change.value.clear();
            }
        }
        let dropped: Vec<Arc<str>> =
            self.base.iter().filter(|(name, _)| !keep(name)).map(|(name, _)| name.into()).collect();
        for name in dropped {
            self.set(&name, "");
        }
    }

    /// True while they are those of the source.
    pub fn is_unchanged(&self) -> bool {
        self.used == 0
    }

    /// The labels of the source.
    pub fn base(&self) -> &Labels {
        &self.base
    }

    /// Pairs that are not empty; sorted by name when nothing was changed.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let base = self.base.iter().filter(|(name, _)| !self.changes().iter().any(|change| *change.name == **name));
        let changed = self.changes().iter().map(|change| (&*change.name, change.value.as_str()));
        base.chain(changed).filter(|(_, value)| !value.is_empty())
    }

    /// A hash that equal label sets of one source share.
    pub fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(&self.base_id.to_le_bytes());
        for change in self.changes() {
            hasher.update(change.name.as_bytes());
            hasher.update(&[0]);
            hasher.update(change.value.as_bytes());
            hasher.update(&[0]);
        }
        hasher.digest()
    }

    fn changes(&self) -> &[Change] {
        &self.changes[..self.used]
    }

    fn is_same(&self, other: &Self) -> bool {
        let pair = |change: &Change| (change.name.clone(), change.value.clone());
        self.base_id == other.base_id
            && self.used == other.used
            && self
                .changes()
                .iter()
                .zip(other.changes())
                .all(|(a, b)| (a.name == b.name && a.value == b.value) || pair(a) == pair(b))
    }
}

/// Label sets by what they were made of, so that a line allocates none.
#[derive(Debug, Default)]
pub struct LabelCache {
    sets: HashMap<u64, Cached>,
}

#[derive(Debug)]
struct Cached {
    made_of: EntryLabels,
    labels: Labels,
    tenant: Option<Arc<str>>,
}

impl LabelCache {
    /// The labels to send, and the tenant if a label names it.
    pub fn resolve(&mut self, labels: &EntryLabels) -> (Labels, Option<Arc<str>>) {
        if labels.is_unchanged() && labels.base.get(TENANT_LABEL).is_none() {
            return (labels.base.clone(), None);
        }
        let hash = labels.hash();
        if let Some(cached) = self.sets.get(&hash).filter(|cached| cached.made_of.is_same(labels)) {
            return (cached.labels.clone(), cached.tenant.clone());
        }
        if self.sets.len() >= CACHED_SETS_MAX {
            self.sets.clear();
        }
        let tenant: Option<Arc<str>> =
            Some(labels.get(TENANT_LABEL)).filter(|tenant| !tenant.is_empty()).map(Arc::from);
        let resolved = Labels::from_pairs(labels.iter().filter(|(name, _)| *name != TENANT_LABEL));
        self.sets.insert(hash, Cached { made_of: labels.clone(), labels: resolved.clone(), tenant: tenant.clone() });
        (resolved, tenant)
    }
}

/// What has to be acknowledged before the lines of an entry may be forgotten.
#[derive(Debug, Default)]
pub struct Receipts {
    /// Of lines that a stage kept back.
    pub held: Vec<Receipt>,
    /// The line that is being run is part of the entry.
    pub has_current: bool,
}

impl Receipts {
    /// Keeps the current line's place beyond its run. One place a buffered entry is enough, the first.
    pub fn hold(&mut self, cx: &Context<'_>) {
        if !std::mem::take(&mut self.has_current) {
            return;
        }
        if let (true, Some(receipt)) = (self.held.is_empty(), cx.receipt) {
            self.held.push(receipt.hold(cx.line_start));
        }
    }

    /// Nothing of the entry will be sent.
    pub fn settle(&mut self) {
        self.held.drain(..).for_each(Receipt::settle);
        self.has_current = false;
    }
}

/// A line with everything that is known about it.
#[derive(Debug, Default)]
pub struct Entry {
    /// Stream labels.
    pub labels: EntryLabels,
    /// The line; may hold bytes that are no UTF-8 until it is sent.
    pub line: Vec<u8>,
    /// ns since the epoch.
    pub timestamp_ns: i64,
    /// Structured metadata.
    pub metadata: Vec<(String, String)>,
    /// What stages took out.
    pub extracted: Extracted,
    /// What must be acknowledged.
    pub receipts: Receipts,
}

impl Entry {
    /// Starts over with a line.
    pub fn reset(&mut self, labels: &Labels, base_id: u64, line: &[u8], timestamp_ns: i64) {
        self.labels.reset(labels, base_id);
        self.line.clear();
        self.line.extend_from_slice(line);
        self.timestamp_ns = timestamp_ns;
        self.metadata.clear();
        self.extracted.clear();
        self.receipts.held.clear();
        self.receipts.has_current = true;
    }

    /// The line as text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.line)
    }

    /// An extracted value, or a label that the entry started with.
    pub fn value(&self, name: &str) -> Option<Value<'_>> {
        match self.extracted.get(name) {
            Some(value) => (value.kind != Kind::Absent).then_some(value),
            None => self.labels.base().get(name).map(|text| Value { kind: Kind::Text, text }),
        }
    }

    /// An extracted value as a string.
    pub fn string(&self, name: &str) -> Option<&str> {
        self.value(name)?.string()
    }

    /// All extracted values and initial labels, sorted by name.
    pub fn values(&self) -> Vec<(&str, Value<'_>)> {
        let base = self.labels.base().iter().filter(|(name, _)| self.extracted.get(name).is_none());
        let base = base.map(|(name, text)| (name, Value { kind: Kind::Text, text }));
        let mut all: Vec<_> = base.chain(self.extracted.iter().filter(|(_, v)| v.kind != Kind::Absent)).collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all
    }

    /// A nested pipeline begins: its extracted map holds the labels of now.
    pub fn extract_labels(&mut self) {
        if self.labels.is_unchanged() && self.extracted.iter().next().is_none() {
            return;
        }
        for (name, value) in self.labels.iter() {
            // Names of labels are few and live as long as the configuration; this allocates only on nested pipelines.
            self.extracted.set(&Arc::from(name), Kind::Text, value);
        }
    }

    /// This entry for later; what remains is an entry without receipts.
    pub fn take(&mut self) -> Self {
        Self {
            labels: self.labels.clone(),
            line: std::mem::take(&mut self.line),
            timestamp_ns: self.timestamp_ns,
            metadata: self.metadata.clone(),
            extracted: self.extracted.clone(),
            receipts: std::mem::take(&mut self.receipts),
        }
    }
}
