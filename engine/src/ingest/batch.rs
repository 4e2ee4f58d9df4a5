//! Decoded entries to a [`Batch`]: what a tenant's limits accept, complete, in columns.
//!
//! ```text
//! per stream:  labels, enforced labels, blocking
//! per entry:   too old, too new, line size, metadata            -> errors that are grouped
//! tenant rate: all or nothing                                   -> 429
//! per stream:  active streams, window, rate                     -> 429 or 400
//! ```
//!
//! Valid neighbours of refused entries are stored, and the answer is an error nevertheless: clients that send all of
//! it again do no harm, since equal entries are one.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use logstack_config::{ByteSize, Limits};

use super::PushError;
use super::budget::Share;
use super::decode::{Decoded, DecodedEntry};
use super::metadata::{LEVEL_NAME, LevelRules, MetadataBuilder, is_name};
use super::metrics::{Format, LineLengths, Reason};
use super::tenant::{Flow, KnownStream, Profile, Tenant};
use super::texts::{self, EntryRefusal, Grouped, Wrapped};
use crate::model::{Batch, BatchStream, Rows};
use crate::storage::Store;

/// Memory of an entry in [`Rows`] beside its line.
const ENTRY_BYTES: usize = 32;

/// Memory of a pair of metadata beside its text, if no other entry has the same.
const PAIR_BYTES: usize = 96;

/// Who pushes, and what holds for it.
pub struct Request<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// Its limits.
    pub profile: &'a Profile,
    /// Which interface was used.
    pub format: Format,
    /// The present.
    pub now_ns: i64,
    /// How far behind its stream's newest entry an entry may be.
    pub window_ns: i64,
}

/// What a push comes to.
pub struct Outcome {
    /// What is to be stored; may be empty.
    pub batch: Batch,
    /// What is to be answered once it is stored.
    pub refusal: Option<PushError>,
    /// Lengths of the lines in `batch`.
    pub lengths: LineLengths,
    /// The memory of `batch`.
    pub share: Share,
}

/// An entry that the first checks accepted.
struct Candidate {
    /// Of [`Decoded::entries`].
    entry: usize,
    timestamp_ns: i64,
    /// Line and metadata, as rates count them.
    bytes: u64,
    /// Pairs of metadata.
    pair_count: usize,
}

/// A stream of the request with accepted entries.
struct Group {
    stream: Arc<KnownStream>,
    /// Of the candidates.
    candidates: Range<usize>,
}

/// Applies the limits of `request` to `decoded`.
///
/// # Errors
/// [`PushError`] when nothing at all is stored.
pub fn build(request: &Request<'_>, store: &Store, mut decoded: Decoded) -> Result<Outcome, PushError> {
    decoded.reserve(decoded.entries.len() * size_of::<Candidate>())?;
    let (candidates, mut groups, refusals) = validate(request, store, &decoded);
    let limits = &request.profile.rules.limits;

    let memory = |candidate: &Candidate| candidate.bytes as usize + candidate.pair_count * PAIR_BYTES + ENTRY_BYTES;
    decoded.reserve(candidates.iter().map(memory).sum())?;
    let bytes: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
    if !candidates.is_empty() && !request.tenant.take(bytes, limits, request.now_ns) {
        request.discarded(Reason::RateLimited, candidates.len(), bytes);
        let tenant = request.tenant.id.as_str();
        let text = texts::rate_limited(tenant, limits.ingestion_rate_bytes(), candidates.len(), bytes);
        return Err(PushError::new(429, text));
    }

    gather(&mut groups);
    let mut writer = Writer {
        request,
        decoded: &decoded,
        batch: Batch::default(),
        lengths: LineLengths::default(),
        metadata: MetadataBuilder::default(),
        cut: Vec::new(),
    };
    let line_bytes = |candidate: &Candidate| decoded.entries[candidate.entry].line.len();
    writer.batch.rows.bytes.reserve(candidates.iter().map(line_bytes).sum());
    let mut refused = None;
    for group in &groups {
        if let Err(error) = writer.admit(group, &candidates) {
            // Of several the one that asks for a retry is told: the other entries are refused again anyway.
            if refused.as_ref().is_none_or(|known: &PushError| known.status != 429 && error.status == 429) {
                refused = Some(error);
            }
        }
    }
    let Writer { batch, lengths, .. } = writer;
    let refusal = refused.or_else(|| refusals.into_error());
    Ok(Outcome { batch, refusal, lengths, share: decoded.into_share() })
}

/// Makes the groups of one stream neighbours, in the order of their first.
fn gather(groups: &mut [Group]) {
    if groups.len() < 2 {
        return;
    }
    let mut first = HashMap::with_capacity(groups.len());
    let mut is_gathered = true;
    for (idx, group) in groups.iter().enumerate() {
        match first.entry(group.stream.stream.id) {
            Entry::Occupied(_) => is_gathered = false,
            Entry::Vacant(entry) => {
                entry.insert(idx);
            }
        }
    }
    if !is_gathered {
        groups.sort_by_key(|group| first[&group.stream.stream.id]);
    }
}

/// What the first checks refuse.
#[derive(Default)]
struct Refusals {
    validation: Grouped,
    blocked: Option<PushError>,
}

impl Refusals {
    fn into_error(self) -> Option<PushError> {
        self.validation.into_text().map(|text| PushError::new(400, text)).or(self.blocked)
    }
}

/// The checks that need nothing but the request and the limits.
fn validate(request: &Request<'_>, store: &Store, decoded: &Decoded) -> (Vec<Candidate>, Vec<Group>, Refusals) {
    let mut candidates = Vec::with_capacity(decoded.entries.len());
    let mut groups: Vec<Group> = Vec::with_capacity(decoded.streams.len());
    let mut refusals = Refusals::default();
    let mut scratch = Vec::new();
    let (mut lines, mut line_bytes, mut metadata_bytes) = (0, 0, 0);
    for stream in &decoded.streams {
        let entries = &decoded.entries[stream.entries.clone()];
        if entries.is_empty() {
            continue;
        }
        let start = candidates.len();
        for (idx, entry) in stream.entries.clone().zip(entries) {
            let sizes = Sizes::of(entry, decoded);
            line_bytes += entry.line.len() as u64;
            metadata_bytes += sizes.bytes as u64;
            let bytes = (entry.line.len() + sizes.counted_bytes) as u64;
            let pair_count = sizes.count;
            candidates.push(Candidate { entry: idx, timestamp_ns: entry.timestamp_ns, bytes, pair_count });
        }
        lines += entries.len();
        let bytes = candidates[start..].iter().map(|candidate| candidate.bytes).sum();
        let discard = |candidates: &mut Vec<Candidate>, reason| {
            request.discarded(reason, entries.len(), bytes);
            candidates.truncate(start);
        };

        let resolved = request.profile.resolve(&request.tenant.id, store, &stream.labels, decoded, &mut scratch);
        let known = match resolved {
            Ok(known) => known,
            Err(refusal) => {
                discard(&mut candidates, refusal.reason);
                refusals.validation.add(|| refusal.text);
                continue;
            }
        };
        if let Some((reason, error)) = request.blocked(&known) {
            discard(&mut candidates, reason);
            if error.status != 200 {
                refusals.blocked = Some(error);
            }
            continue;
        }
        validate_entries(request, &known, decoded, &mut candidates, start, &mut refusals.validation);
        if candidates.len() > start {
            let candidates = start..candidates.len();
            groups.push(Group { stream: known, candidates });
        }
    }
    request.tenant.metrics.received(request.format, lines, line_bytes, metadata_bytes);
    (candidates, groups, refusals)
}

/// Keeps the candidates from `start` on that are acceptable one by one.
fn validate_entries(
    request: &Request<'_>,
    known: &KnownStream,
    decoded: &Decoded,
    candidates: &mut Vec<Candidate>,
    start: usize,
    refusals: &mut Grouped,
) {
    let limits = &request.profile.rules.limits;
    let mut text = None;
    // Timestamp as sent, timestamp as changed, line.
    let mut previous: Option<(i64, i64, &[u8])> = None;
    let mut kept = start;
    for at in start..candidates.len() {
        let entry = &decoded.entries[candidates[at].entry];
        if let Some(refusal) = request.check(entry, decoded) {
            request.discarded(refusal.reason(), 1, candidates[at].bytes);
            let text = &*text.get_or_insert_with(|| known.stream.labels.to_string());
            refusals.add(|| refusal.text(text));
            continue;
        }
        let mut timestamp_ns = entry.timestamp_ns;
        if limits.increment_duplicate_timestamp {
            let line = entry.line.of(&decoded.bytes);
            if let Some((sent_ns, changed_ns, previous_line)) = previous
                && (sent_ns == timestamp_ns || changed_ns == timestamp_ns)
                && previous_line != line
            {
                timestamp_ns = changed_ns.saturating_add(1);
            }
            previous = Some((entry.timestamp_ns, timestamp_ns, line));
        }
        candidates.swap(kept, at);
        candidates[kept].timestamp_ns = timestamp_ns;
        kept += 1;
    }
    candidates.truncate(kept);
}

/// Sizes of the structured metadata of an entry.
struct Sizes {
    count: usize,
    bytes: usize,
    /// Without `detected_level`, which costs nobody anything.
    counted_bytes: usize,
}

impl Sizes {
    fn of(entry: &DecodedEntry, decoded: &Decoded) -> Self {
        let mut sizes = Self { count: 0, bytes: 0, counted_bytes: 0 };
        for (name, value) in decoded.metadata(entry) {
            sizes.count += 1;
            sizes.bytes += name.len() + value.len();
            if name != LEVEL_NAME.as_bytes() {
                sizes.counted_bytes += name.len() + value.len();
            }
        }
        sizes
    }
}

impl Request<'_> {
    fn discarded(&self, reason: Reason, lines: usize, bytes: u64) {
        self.tenant.metrics.discarded(self.format, reason, lines, bytes);
    }

    /// The refusal of a stream whose tenant or policy is blocked.
    fn blocked(&self, known: &KnownStream) -> Option<(Reason, PushError)> {
        let limits = &self.profile.rules.limits;
        let (tenant, status) = (self.tenant.id.as_str(), limits.block_ingestion_status_code);
        let until_ns = |until: &logstack_config::units::Time| Some(until.as_nanos()).filter(|&ns| self.now_ns < ns);
        if let Some(policy) = &known.policy
            && let Some(ns) = limits.block_ingestion_policy_until.get(&**policy).and_then(until_ns)
        {
            let text = texts::blocked_policy(tenant, policy, ns, status);
            return Some((Reason::BlockedIngestionPolicy, PushError::new(status, text)));
        }
        let ns = limits.block_ingestion_until.as_ref().and_then(until_ns)?;
        Some((Reason::BlockedIngestion, PushError::new(status, texts::blocked(tenant, ns, status))))
    }

    /// What is wrong with one entry.
    fn check(&self, entry: &DecodedEntry, decoded: &Decoded) -> Option<EntryRefusal> {
        let limits = &self.profile.rules.limits;
        let timestamp_ns = entry.timestamp_ns;
        if limits.reject_old_samples {
            let oldest_ns = self.now_ns.saturating_sub(limits.reject_old_samples_max_age.as_nanos());
            if timestamp_ns < oldest_ns {
                return Some(EntryRefusal::TooOld { timestamp_ns, oldest_ns });
            }
        }
        if timestamp_ns > self.now_ns.saturating_add(limits.creation_grace_period.as_nanos()) {
            return Some(EntryRefusal::TooNew { timestamp_ns });
        }
        let (bytes, bytes_max) = (entry.line.len(), limits.max_line_size.as_usize());
        if bytes_max > 0 && bytes > bytes_max && !limits.max_line_size_truncate {
            return Some(EntryRefusal::LineTooLong { bytes, bytes_max });
        }
        self.check_metadata(entry, decoded)
    }

    fn check_metadata(&self, entry: &DecodedEntry, decoded: &Decoded) -> Option<EntryRefusal> {
        let limits = &self.profile.rules.limits;
        let Sizes { count, bytes, .. } = Sizes::of(entry, decoded);
        if count == 0 {
            return None;
        }
        if !limits.allow_structured_metadata {
            return Some(EntryRefusal::MetadataDisallowed);
        }
        let (bytes_max, count_max) =
            (limits.max_structured_metadata_size.as_usize(), limits.max_structured_metadata_entries_count);
        if bytes_max > 0 && bytes > bytes_max {
            return Some(EntryRefusal::MetadataTooLarge { bytes, bytes_max });
        }
        if count_max > 0 && count > count_max {
            return Some(EntryRefusal::MetadataTooMany { count, count_max });
        }
        let has_nameless = decoded.metadata(entry).any(|(name, _)| !is_name(name));
        has_nameless.then_some(EntryRefusal::MetadataWithoutName)
    }
}

/// Writes admitted entries to the batch.
struct Writer<'a> {
    request: &'a Request<'a>,
    decoded: &'a Decoded,
    batch: Batch,
    lengths: LineLengths,
    metadata: MetadataBuilder,
    /// A line that was cut.
    cut: Vec<u8>,
}

/// What the limits on one stream leave of its entries.
#[derive(Default)]
struct Admission {
    /// Of the candidates.
    admitted: Vec<usize>,
    refused: Wrapped,
    is_rate_limited: bool,
}

impl Writer<'_> {
    /// Writes what the limits on one stream admit of its entries.
    fn admit(&mut self, group: &Group, candidates: &[Candidate]) -> Result<(), PushError> {
        let request = self.request;
        let (limits, stream) = (&request.profile.rules.limits, &group.stream.stream);
        let own = &candidates[group.candidates.clone()];
        let admission =
            request.tenant.with_flow(stream.id, limits, request.now_ns, |flow| request.admit(flow, group, own));
        let Some(Admission { admitted, refused, is_rate_limited }) = admission else {
            request.discarded(Reason::StreamLimit, own.len(), own.iter().map(|candidate| candidate.bytes).sum());
            let text = texts::too_many_streams(&stream.labels.to_string(), request.tenant.id.as_str());
            return Err(PushError::new(429, text));
        };
        self.write(&group.stream, admitted.into_iter().map(|idx| &own[idx]));
        if refused.count == 0 {
            return Ok(());
        }
        let text = refused.into_text(request.tenant.id.as_str(), own.len(), &stream.labels.to_string());
        Err(PushError::new(if is_rate_limited { 429 } else { 400 }, text))
    }

    fn write<'c>(&mut self, known: &KnownStream, admitted: impl Iterator<Item = &'c Candidate>) {
        let rules = &self.request.profile.rules;
        let level = rules.detects_levels().then_some(LevelRules {
            names: &rules.level_names,
            of_stream: known.level.as_ref(),
            json_depth_max: rules.limits.log_level_from_json_max_depth,
        });
        let rows = &mut self.batch.rows;
        let start = rows.len();
        for candidate in admitted {
            let entry = &self.decoded.entries[candidate.entry];
            let mut line = entry.line.of(&self.decoded.bytes);
            let line_bytes = line.len();
            if let Some(kept) = truncated_len(line, &rules.limits) {
                self.cut.clear();
                self.cut.extend_from_slice(&line[..kept]);
                self.cut.extend_from_slice(rules.limits.max_line_size_truncate_identifier.as_bytes());
                self.request.tenant.metrics.truncated((line_bytes - kept) as u64);
                line = &self.cut;
            }
            let Rows { metadata, .. } = rows;
            let id = self.metadata.entry(self.decoded.metadata(entry), line, level, metadata);
            rows.push(candidate.timestamp_ns, line, id);
            self.lengths.add(line.len());
        }
        let end = rows.len();
        match self.batch.streams.last_mut() {
            _ if start == end => {}
            Some(last) if last.stream.id == known.stream.id => last.rows.end = end,
            _ => self.batch.streams.push(BatchStream { stream: known.stream.clone(), rows: start..end }),
        }
    }
}

impl Request<'_> {
    /// Decides by what is remembered of the stream, and remembers.
    fn admit(&self, flow: &mut Flow, group: &Group, own: &[Candidate]) -> Admission {
        let limits = &self.profile.rules.limits;
        let mut out = Admission { admitted: Vec::with_capacity(own.len()), ..Admission::default() };
        let rate_refusal = |candidate: &Candidate| {
            let stream = group.stream.stream.labels.to_string();
            texts::stream_rate_limited(&stream, limits.per_stream_rate_limit, candidate.bytes)
        };
        let mut admitted_bytes = 0;
        let mut newest_ns = flow.newest_ns;
        for (idx, candidate) in own.iter().enumerate() {
            let timestamp_ns = candidate.timestamp_ns;
            if !limits.shard_streams.enabled && !flow.take(candidate.bytes, limits, self.now_ns) {
                self.discarded(Reason::PerStreamRateLimit, 1, candidate.bytes);
                out.is_rate_limited = true;
                out.refused.add(timestamp_ns, || rate_refusal(candidate));
                continue;
            }
            if let Some(newest_ns) = newest_ns {
                let oldest_ns = newest_ns.saturating_sub(self.window_ns);
                if limits.unordered_writes && timestamp_ns < oldest_ns {
                    self.discarded(Reason::TooFarBehind, 1, candidate.bytes);
                    out.refused.add(timestamp_ns, || texts::too_far_behind(timestamp_ns, oldest_ns));
                    continue;
                }
                if !limits.unordered_writes && timestamp_ns < newest_ns {
                    self.discarded(Reason::OutOfOrder, 1, candidate.bytes);
                    out.refused.add(timestamp_ns, || texts::OUT_OF_ORDER.to_owned());
                    continue;
                }
            }
            newest_ns = newest_ns.max(Some(timestamp_ns));
            admitted_bytes += candidate.bytes;
            out.admitted.push(idx);
        }
        if limits.shard_streams.enabled && !flow.take(admitted_bytes, limits, self.now_ns) {
            self.discarded(Reason::PerStreamRateLimit, out.admitted.len(), admitted_bytes);
            out.is_rate_limited = true;
            for idx in out.admitted.drain(..) {
                out.refused.add(own[idx].timestamp_ns, || rate_refusal(&own[idx]));
            }
            return out;
        }
        flow.newest_ns = newest_ns;
        out
    }
}

/// Where a line that is too long is cut, so that the identifier still fits behind it. Never within a character.
fn truncated_len(line: &[u8], limits: &Limits) -> Option<usize> {
    let max = limits.max_line_size;
    if max == ByteSize::ZERO || line.len() <= max.as_usize() {
        return None;
    }
    let mut len = max.as_usize().saturating_sub(limits.max_line_size_truncate_identifier.len());
    // At most three continuation bytes; more are no UTF-8 at all and may be cut anywhere.
    let is_continuation = |len: usize| line.get(len).is_some_and(|byte| byte & 0xc0 == 0x80);
    let boundary = (len.saturating_sub(3)..=len).rev().find(|&len| !is_continuation(len));
    len = boundary.unwrap_or(len);
    Some(len)
}
