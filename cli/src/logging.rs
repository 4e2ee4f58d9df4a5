//! Events go to stderr. `LOGSTACK_LOG` filters them (`info`, `warn,logstack_engine=debug`), `LOGSTACK_LOG_FORMAT=json`
//! is for machines.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Installs the subscriber; once a process.
pub fn init(is_json: bool) {
    let filter = EnvFilter::try_from_env("LOGSTACK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    if is_json {
        registry.with(fmt::layer().json().with_writer(std::io::stderr)).init();
    } else {
        registry
            .with(
                fmt::layer()
                    .compact()
                    .with_target(false)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .init();
    }
    // A second `init` would have panicked above.
    let _ = FILTER.set(handle);
}

/// Prints events of `level` and above from now on; false when `level` is none.
pub fn set_level(level: &str) -> bool {
    let Ok(filter) = EnvFilter::try_new(level) else { return false };
    FILTER.get().is_some_and(|handle| handle.reload(filter).is_ok())
}
