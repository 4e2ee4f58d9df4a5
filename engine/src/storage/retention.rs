//! How long rows are kept: by time for each tenant and stream, and by size for all.
//!
//! Queries honour the time at once. Files follow: a part without a row to keep is removed, a part of which much has
//! expired is rewritten. If the volume fills, the oldest parts go, whatever the time says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashMap;
use logstack_logql::Labels;
use logstack_logql::matcher::CompiledMatcher;
use roaring::RoaringBitmap;
use tracing::{info, warn};

use super::deletes::DELETE_AFTER;
use super::error::{Error, Result};
use super::manifest::Edit;
use super::merge::replace_parts;
use super::part::{Part, PartId};
use super::shared::Shared;
use crate::model::TenantId;

/// What is kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// For tenants that have none of their own.
    pub default: TenantRetention,
    /// By tenant.
    pub tenants: HashMap<TenantId, TenantRetention>,
    /// For all together.
    pub size: SizeLimits,
    /// How long after a delete request its entries are removed from disk. They are hidden at once.
    pub delete_after: Duration,
}

impl Default for Retention {
    /// Everything is kept for ever.
    fn default() -> Self {
        let (default, tenants, size) = Default::default();
        Self { default, tenants, size, delete_after: DELETE_AFTER }
    }
}

/// How long a tenant's rows are kept.
#[derive(Debug, Clone)]
pub struct TenantRetention {
    /// `None` is for ever.
    pub period: Option<Duration>,
    /// Exceptions by stream.
    pub streams: Vec<StreamRetention>,
    /// Delete requests remove entries from disk, too.
    pub removes_deleted: bool,
}

impl Default for TenantRetention {
    /// Everything is kept, but for what is deleted on request.
    fn default() -> Self {
        Self { period: None, streams: Vec::new(), removes_deleted: true }
    }
}

/// How long the rows of some streams are kept.
#[derive(Debug, Clone)]
pub struct StreamRetention {
    /// All hold on the stream's labels.
    pub matchers: Vec<CompiledMatcher>,
    /// Of several that match, the highest wins; of equal ones the shortest period.
    pub priority: i64,
    /// `None` is for ever.
    pub period: Option<Duration>,
}

/// How much may be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SizeLimits {
    /// Bytes of parts and log.
    pub bytes_max: Option<u64>,
    /// The share of our room on the volume, which is our files and what is free, that our files may take: 0.9 leaves a
    /// tenth free.
    pub volume_share_max: Option<f64>,
}

/// A part is rewritten when this share of its lines has expired.
const REWRITE_SHARE: f64 = 0.3;

impl Retention {
    /// The rules of a tenant.
    pub fn of(&self, tenant: &TenantId) -> &TenantRetention {
        self.tenants.get(tenant).unwrap_or(&self.default)
    }

    /// Rows of the stream before this instant are gone.
    pub fn cutoff_ns(&self, tenant: &TenantId, labels: &Labels, now_ns: i64) -> i64 {
        let rules = self.of(tenant);
        let mut period = rules.period;
        let mut best: Option<&StreamRetention> = None;
        for rule in &rules.streams {
            // `None` is the longest.
            let length = |rule: &StreamRetention| rule.period.unwrap_or(Duration::MAX);
            let is_better = best.is_none_or(|best| {
                (rule.priority, std::cmp::Reverse(length(rule))) > (best.priority, std::cmp::Reverse(length(best)))
            });
            if is_better && rule.matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or(""))) {
                best = Some(rule);
                period = rule.period;
            }
        }
        match period {
            Some(period) => now_ns.saturating_sub(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX)),
            None => i64::MIN,
        }
    }

    /// No stream's rows after this instant have expired.
    pub fn latest_cutoff_ns(&self, now_ns: i64) -> i64 {
        let all = self.tenants.values().chain([&self.default]);
        let periods = all.flat_map(|rules| rules.streams.iter().filter_map(|rule| rule.period).chain(rules.period));
        let shortest = periods.min();
        shortest.map_or(i64::MIN, |period| now_ns.saturating_sub(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// What retention by time does to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Rewrite,
    Remove,
}

fn judge(part: &Part, retention: &Retention, now_ns: i64) -> Verdict {
    if part.footer.time.first_ns >= retention.latest_cutoff_ns(now_ns) {
        return Verdict::Keep;
    }
    let mut expired_bytes = 0;
    let mut is_all = true;
    for own in part.streams() {
        let cutoff_ns = retention.cutoff_ns(&own.stream.tenant, &own.stream.labels, now_ns);
        for block in &part.blocks()[own.blocks.clone()] {
            if block.time.last_ns < cutoff_ns {
                expired_bytes += block.line_bytes;
            } else {
                is_all = false;
            }
        }
    }
    match (is_all, expired_bytes as f64 / part.footer.line_bytes.max(1) as f64) {
        (true, _) => Verdict::Remove,
        (false, share) if share >= REWRITE_SHARE => Verdict::Rewrite,
        (false, _) => Verdict::Keep,
    }
}

/// Removes what has expired, and what there is no room for. Called now and then by the merge thread.
///
/// # Errors
/// When a change cannot be made now.
pub fn apply_retention(shared: &Shared) -> Result<()> {
    let retention = shared.retention.load_full();
    let now_ns = shared.clock.now_ns();
    let view = shared.view.load_full();
    let mut expired = Vec::new();
    let mut thinned = Vec::new();
    for part in &view.parts {
        match judge(part, &retention, now_ns) {
            Verdict::Keep => {}
            Verdict::Rewrite => thinned.push(part.clone()),
            Verdict::Remove => expired.push(part.clone()),
        }
    }
    if !expired.is_empty() {
        drop_parts(shared, &expired, Reason::Time)?;
    }
    for part in thinned {
        shared.check_open()?;
        replace_parts(shared, std::slice::from_ref(&part), part.footer.level)?;
    }
    drop(view);
    enforce_size(shared, &retention.size)?;
    forget_streams(shared);
    Ok(())
}

/// Forgets the streams whose last rows went.
fn forget_streams(shared: &Shared) {
    shared.registry.forget_unused(|tenant| {
        let view = shared.view.load();
        let mut used = RoaringBitmap::new();
        for own in view.parts.iter().filter_map(|part| part.tenant(tenant)) {
            used |= &own.streams;
        }
        for own in view.memtables.iter().filter_map(|memtable| memtable.tenant(tenant)) {
            used.extend(own.streams().iter().map(|source| source.number));
        }
        used
    });
}

/// Removes the oldest parts until limits hold.
///
/// # Errors
/// When a change cannot be made now.
pub fn enforce_size(shared: &Shared, limits: &SizeLimits) -> Result<()> {
    let days = &shared.layout.days;
    let space = shared.disk.space(days).map_err(Error::io("ask for the free space of", days))?;
    let view = shared.view.load_full();
    let wal = shared.disk.list(&shared.layout.wal).map_err(Error::io("list", &shared.layout.wal))?;
    let used: u64 = view.parts.iter().map(|part| part.file_bytes()).chain(wal.iter().map(|entry| entry.len)).sum();
    let over_bytes = limits.bytes_max.map_or(0, |max| used.saturating_sub(max));
    // What others have put on the volume is neither ours to count nor ours to make room for: measured against the whole
    // volume, a neighbour's file would cost us all our data.
    let over_share = limits.volume_share_max.map_or(0, |share| {
        let room = used.saturating_add(space.free_bytes);
        used.saturating_sub((room as f64 * share.clamp(0.0, 1.0)) as u64)
    });
    let mut excess = over_bytes.max(over_share);
    let mut oldest = Vec::new();
    for part in &view.parts {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(part.file_bytes());
        oldest.push(part.clone());
    }
    if oldest.is_empty() {
        return Ok(());
    }
    warn!(parts = oldest.len(), used_bytes = used, free_bytes = space.free_bytes, "no room: removing the oldest parts");
    drop_parts(shared, &oldest, Reason::Size)
}

/// Why parts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Time,
    Size,
}

fn drop_parts(shared: &Shared, parts: &[Arc<Part>], reason: Reason) -> Result<()> {
    let removed: Vec<PartId> = parts.iter().map(|part| part.id).collect();
    let edit = Edit { removed: removed.clone(), ..Edit::default() };
    shared.commit(&edit, |view| view.with_parts(&removed, []))?;
    shared.remove_parts(parts);
    let rows: u64 = parts.iter().map(|part| part.footer.rows).sum();
    let counter = match reason {
        Reason::Time => &shared.counters.expired_rows,
        Reason::Size => &shared.counters.evicted_rows,
    };
    counter.fetch_add(rows, Ordering::Relaxed);
    info!(
        ?reason,
        rows,
        parts = parts.len(),
        bytes = parts.iter().map(|part| part.file_bytes()).sum::<u64>(),
        first_day = parts.first().map(|part| part.footer.day.to_string()),
        last_day = parts.last().map(|part| part.footer.day.to_string()),
        "parts removed by retention"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{matchers, stream};

    #[test]
    fn the_highest_priority_decides() {
        let hours = |n: u64| Some(Duration::from_secs(n * 3600));
        let rule =
            |selector: &str, priority, period| StreamRetention { matchers: matchers(selector), priority, period };
        let own = TenantRetention {
            period: hours(10),
            streams: vec![
                rule(r#"app="web""#, 1, hours(2)),
                rule(r#"app=~"w.*""#, 2, hours(5)),
                rule(r#"pod="x""#, 2, hours(4)),
                rule(r#"app="audit""#, 0, None),
            ],
            ..TenantRetention::default()
        };
        let retention = Retention { tenants: HashMap::from([(TenantId::new("fake"), own)]), ..Retention::default() };
        let now_ns = 100 * 3_600_000_000_000;
        #[track_caller]
        fn check(retention: &Retention, labels: &str, now_ns: i64, hours: Option<i64>) {
            let stream = stream(labels);
            let want = hours.map_or(i64::MIN, |hours| now_ns - hours * 3_600_000_000_000);
            assert_eq!(retention.cutoff_ns(&stream.tenant, &stream.labels, now_ns), want, "{labels}");
        }
        check(&retention, r#"app="api""#, now_ns, Some(10));
        check(&retention, r#"app="web""#, now_ns, Some(5));
        check(&retention, r#"app="web" pod="x""#, now_ns, Some(4));
        check(&retention, r#"app="audit""#, now_ns, None);
        assert_eq!(retention.latest_cutoff_ns(now_ns), now_ns - 2 * 3_600_000_000_000);
        let other = TenantId::new("other");
        assert_eq!(retention.cutoff_ns(&other, &stream(r#"a="b""#).labels, now_ns), i64::MIN);
        assert_eq!(Retention::default().latest_cutoff_ns(now_ns), i64::MIN);
    }
}
