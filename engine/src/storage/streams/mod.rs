//! All streams that storage knows, and which labels lead to them. In memory only: parts and WAL name their streams by
//! labels, so this is rebuilt at start.
//!
//! ```text
//! tenant -> index: stream id -> number, (name, value) -> bitmap of numbers
//! ```
//!
//! What is where in time is not known here: a snapshot asks its parts and memtables.

mod index;

pub use index::{Index, StreamNo};

use std::collections::BTreeMap;
use std::sync::Arc;

use logstack_logql::Labels;
use parking_lot::{RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;

use crate::model::{Stream, StreamId, TenantId};

/// The streams of one tenant.
pub struct TenantStreams {
    /// Whose they are.
    pub tenant: TenantId,
    index: RwLock<Index>,
}

impl TenantStreams {
    /// Runs `read` on the index. Short: appends of new streams wait for it.
    pub fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.index.read())
    }

    /// The number of `stream`, which is added if new; and the `Arc` that the process shares for it.
    pub fn register(&self, stream: &Arc<Stream>) -> (StreamNo, Arc<Stream>) {
        if let Some(known) = self.index.read().find(stream.id) {
            return known;
        }
        self.index.write().insert(stream)
    }
}

/// The streams of all tenants.
#[derive(Default)]
pub struct Registry {
    tenants: RwLock<BTreeMap<TenantId, Arc<TenantStreams>>>,
    /// Held shared from the registration of a stream until a view mentions it; alone while streams are forgotten.
    pins: RwLock<()>,
}

/// As long as it lives no stream is forgotten.
pub struct Pin<'a> {
    _guard: RwLockReadGuard<'a, ()>,
}

impl Registry {
    /// The tenant's streams, which may be none.
    pub fn tenant(&self, tenant: &TenantId) -> Arc<TenantStreams> {
        if let Some(streams) = self.tenants.read().get(tenant) {
            return streams.clone();
        }
        let mut tenants = self.tenants.write();
        let empty = || Arc::new(TenantStreams { tenant: tenant.clone(), index: RwLock::default() });
        tenants.entry(tenant.clone()).or_insert_with(empty).clone()
    }

    /// The tenant's streams if anything was ever stored for it. Asking leaves nothing behind.
    pub fn find_tenant(&self, tenant: &TenantId) -> Option<Arc<TenantStreams>> {
        self.tenants.read().get(tenant).cloned()
    }

    /// Keeps what is registered now from being forgotten before a view mentions it.
    pub fn pin(&self) -> Pin<'_> {
        Pin { _guard: self.pins.read() }
    }

    /// Forgets the streams that are not among the `used` ones of their tenant. Does nothing while pinned.
    pub fn forget_unused(&self, used: impl Fn(&TenantId) -> RoaringBitmap) {
        let Some(_guard) = self.pins.try_write() else { return };
        for tenant in self.tenants() {
            let used = used(&tenant.tenant);
            let mut index = tenant.index.write();
            for number in index.select(&[]) - used {
                index.remove(number);
            }
        }
    }

    /// All tenants, sorted.
    pub fn tenants(&self) -> Vec<Arc<TenantStreams>> {
        self.tenants.read().values().cloned().collect()
    }

    /// The shared `Arc` of a stream that has rows, else a new one. Nothing is added: a stream is registered with its
    /// first row, so that refused pushes leave nothing behind.
    pub fn resolve(&self, tenant: &TenantId, labels: &Labels) -> Arc<Stream> {
        let id = StreamId::of(tenant, labels);
        let known = self.find_tenant(tenant).and_then(|streams| streams.index.read().find(id));
        match known {
            Some((_, stream)) => stream,
            None => Arc::new(Stream { id, tenant: tenant.clone(), labels: labels.clone() }),
        }
    }
}
