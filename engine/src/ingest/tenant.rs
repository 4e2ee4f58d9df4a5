//! What ingest remembers of a tenant between pushes: streams by the text of their labels, active streams with their
//! newest entry, and the rate.

use std::sync::Arc;

use hashbrown::HashMap;
use logstack_config::{ByteSize, Limits};
use parking_lot::Mutex;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use super::bucket::TokenBucket;
use super::decode::{Decoded, LabelSource};
use super::labels::{self, Refusal};
use super::metadata::LevelText;
use super::metrics::TenantMetrics;
use super::rules::{self, PushRules};
use crate::model::{Stream, StreamId, TenantId};
use crate::storage::Store;

/// Memory of the label texts remembered for a tenant.
const KNOWN_STREAMS_BYTES_MAX: u64 = 8 << 20;

/// What a remembered stream takes beside its text, about.
const KNOWN_STREAM_BYTES: u64 = 400;

/// A stream as its labels resolve to under some limits.
#[derive(Debug)]
pub struct KnownStream {
    /// The stream.
    pub stream: Arc<Stream>,
    /// The level that its labels state.
    pub level: Option<LevelText>,
    /// Its policy.
    pub policy: Option<Box<str>>,
}

/// Limits of a tenant, compiled, and the streams that were resolved under them. A reload starts a new one.
pub struct Profile {
    source: Arc<Limits>,
    /// The limits, compiled.
    pub rules: PushRules,
    known: Cache<LabelKey, Arc<KnownStream>, TextWeight>,
}

/// Bytes of labels as sent, and in which form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LabelKey {
    form: u8,
    text: Box<[u8]>,
}

/// A [`LabelKey`] to look up with. Must hash as that does.
#[derive(Hash)]
struct LabelRef<'a> {
    form: u8,
    text: &'a [u8],
}

impl Equivalent<LabelKey> for LabelRef<'_> {
    fn equivalent(&self, key: &LabelKey) -> bool {
        self.form == key.form && *self.text == *key.text
    }
}

#[derive(Clone)]
struct TextWeight;

impl quick_cache::Weighter<LabelKey, Arc<KnownStream>> for TextWeight {
    fn weight(&self, key: &LabelKey, _: &Arc<KnownStream>) -> u64 {
        key.text.len() as u64 + KNOWN_STREAM_BYTES
    }
}

impl Profile {
    /// Compiles `limits`.
    ///
    /// # Errors
    /// [`rules::Error`].
    pub fn new(limits: Arc<Limits>) -> Result<Self, rules::Error> {
        let rules = PushRules::new(&limits)?;
        let known = Cache::with_weighter(256, KNOWN_STREAMS_BYTES_MAX, TextWeight);
        Ok(Self { source: limits, rules, known })
    }

    /// True when this was made of `limits`.
    pub fn is_of(&self, limits: &Arc<Limits>) -> bool {
        Arc::ptr_eq(&self.source, limits)
    }

    /// The stream with these labels. Labels are read once per text, then found.
    ///
    /// `scratch` is for the text of labels that stand in pieces.
    ///
    /// # Errors
    /// [`Refusal`]; refused labels are not remembered.
    pub fn resolve(
        &self,
        tenant: &TenantId,
        store: &Store,
        source: &LabelSource,
        decoded: &Decoded,
        scratch: &mut Vec<u8>,
    ) -> Result<Arc<KnownStream>, Refusal> {
        let key = match source {
            LabelSource::Selector(text) => LabelRef { form: 0, text: text.of(&decoded.bytes) },
            LabelSource::Json(text) => LabelRef { form: 1, text: text.of(&decoded.bytes) },
            LabelSource::Pairs(pairs) => {
                scratch.clear();
                for part in decoded.pairs[pairs.clone()].iter().flat_map(|&(name, value)| [name, value]) {
                    scratch.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    scratch.extend_from_slice(part.of(&decoded.bytes));
                }
                LabelRef { form: 2, text: scratch }
            }
        };
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        let labels = labels::resolve(tenant, &self.rules, source, decoded)?;
        let known = Arc::new(KnownStream {
            stream: store.stream(tenant, &labels),
            level: labels::level(&labels, &self.rules.level_names),
            policy: self.rules.policy_of(&labels).map(Into::into),
        });
        self.known.insert(LabelKey { form: key.form, text: key.text.into() }, known.clone());
        Ok(known)
    }
}

/// What is remembered of an active stream.
#[derive(Debug)]
pub struct Flow {
    /// Its newest entry.
    pub newest_ns: Option<i64>,
    last_push_ns: i64,
    bucket: TokenBucket,
}

impl Flow {
    /// Takes `bytes` from the stream's rate, or nothing. A limit of zero limits nothing.
    pub fn take(&mut self, bytes: u64, limits: &Limits, now_ns: i64) -> bool {
        let (rate, burst) = (limits.per_stream_rate_limit, limits.per_stream_rate_limit_burst);
        rate == ByteSize::ZERO || self.bucket.take(bytes, rate.0 as f64, burst.max(rate).0 as f64, now_ns)
    }
}

/// A tenant that pushes.
pub struct Tenant {
    /// Who.
    pub id: TenantId,
    /// Its counters.
    pub metrics: Arc<TenantMetrics>,
    state: Mutex<State>,
}

struct State {
    profile: Arc<Profile>,
    bucket: TokenBucket,
    active: HashMap<StreamId, Flow>,
    last_push_ns: i64,
}

impl Tenant {
    /// A tenant without active streams.
    pub fn new(id: TenantId, metrics: Arc<TenantMetrics>, profile: Arc<Profile>, now_ns: i64) -> Self {
        metrics.set_retention_hours(profile.rules.retention_hours);
        let bucket = TokenBucket::new(profile.rules.limits.ingestion_burst_bytes() as f64, now_ns);
        let state = State { profile, bucket, active: HashMap::new(), last_push_ns: now_ns };
        Self { id, metrics, state: Mutex::new(state) }
    }

    /// The limits as they were last set.
    pub fn profile(&self) -> Arc<Profile> {
        self.state.lock().profile.clone()
    }

    /// Replaces the limits.
    pub fn set_profile(&self, profile: Arc<Profile>) {
        self.metrics.set_retention_hours(profile.rules.retention_hours);
        self.state.lock().profile = profile;
    }

    /// Takes `bytes` from the tenant's rate, or nothing.
    pub fn take(&self, bytes: u64, limits: &Limits, now_ns: i64) -> bool {
        let (rate, burst) = (limits.ingestion_rate_bytes(), limits.ingestion_burst_bytes() as f64);
        self.state.lock().bucket.take(bytes, rate, burst, now_ns)
    }

    /// Calls `admit` with the flow of a stream, which becomes active by it. `None`: one active stream too many.
    pub fn with_flow<T>(
        &self,
        id: StreamId,
        limits: &Limits,
        now_ns: i64,
        admit: impl FnOnce(&mut Flow) -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        state.last_push_ns = now_ns;
        let count = state.active.len() as u64;
        let flow = match state.active.entry(id) {
            hashbrown::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hashbrown::hash_map::Entry::Vacant(entry) => {
                if limits.streams_max().is_some_and(|max| count >= max) {
                    return None;
                }
                self.metrics.streams_created(1);
                let burst = limits.per_stream_rate_limit_burst.max(limits.per_stream_rate_limit);
                let bucket = TokenBucket::new(burst.0 as f64, now_ns);
                entry.insert(Flow { newest_ns: None, last_push_ns: now_ns, bucket })
            }
        };
        flow.last_push_ns = now_ns;
        Some(admit(flow))
    }

    /// Forgets streams without a push since `since_ns`. True when the tenant itself pushed nothing since either.
    pub fn forget_idle(&self, since_ns: i64) -> bool {
        let mut state = self.state.lock();
        let before = state.active.len();
        state.active.retain(|_, flow| flow.last_push_ns >= since_ns);
        let removed = before - state.active.len();
        self.metrics.streams_removed(removed);
        state.active.is_empty() && state.last_push_ns < since_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_become_active_and_idle() {
        let limits = Limits { max_global_streams_per_user: 2, ..Limits::default() };
        let profile = Arc::new(Profile::new(Arc::new(limits.clone())).unwrap());
        let tenant = Tenant::new(TenantId::new("a"), Arc::default(), profile, 0);
        let push = |id, now_ns| tenant.with_flow(StreamId(id), &limits, now_ns, |flow| flow.newest_ns.replace(now_ns));
        assert_eq!(push(1, 10), Some(None));
        assert_eq!(push(2, 20), Some(None));
        assert_eq!(push(3, 30), None, "one too many");
        assert_eq!(push(1, 40), Some(Some(10)));
        assert!(!tenant.forget_idle(30), "stream 1 is active");
        assert_eq!(push(3, 50), Some(None));
        assert_eq!(push(2, 60), None);
        assert!(tenant.forget_idle(100));
        assert_eq!(push(1, 110), Some(None), "starts afresh");
    }
}
