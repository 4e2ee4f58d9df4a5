//! What the limits say about keeping data, in storage's terms.

use std::time::Duration;

use logstack_config::engine::StorageConfig;
use logstack_config::{ByteSize, Limits, PromDuration, TenantLimits};
use logstack_logql::matcher::CompiledMatcher;
use tracing::warn;

use crate::model::TenantId;
use crate::storage::retention::{Retention, SizeLimits, StreamRetention, TenantRetention};

/// How long the rows of each tenant are kept, and how much there may be of all.
pub fn retention(limits: &TenantLimits, config: &StorageConfig) -> Retention {
    Retention {
        default: of_tenant(limits.default_limits()),
        tenants: limits.overridden().map(|(tenant, limits)| (TenantId::new(tenant), of_tenant(limits))).collect(),
        size: SizeLimits {
            bytes_max: Some(config.max_disk_size).filter(|size| !size.is_zero()).map(ByteSize::bytes),
            volume_share_max: Some(config.max_disk_share).filter(|&share| share > 0.0 && share < 1.0),
        },
    }
}

fn of_tenant(limits: &Limits) -> TenantRetention {
    let streams = limits.retention_stream.iter().filter_map(|rule| match matchers(&rule.selector) {
        Ok(matchers) => {
            Some(StreamRetention { matchers, priority: i64::from(rule.priority), period: period(rule.period) })
        }
        Err(reason) => {
            // The configuration was checked when it was read; keeping too much is the safe side.
            warn!(selector = %rule.selector, error = %reason, "retention rule ignored");
            None
        }
    });
    TenantRetention { period: period(limits.retention_period), streams: streams.collect() }
}

/// 0 is for ever.
fn period(period: PromDuration) -> Option<Duration> {
    (!period.is_zero()).then(|| period.get())
}

fn matchers(selector: &str) -> Result<Vec<CompiledMatcher>, String> {
    let selector = logstack_logql::parse_selector(selector).map_err(|error| error.to_string())?;
    selector.iter().map(CompiledMatcher::new).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use logstack_config::EngineConfig;

    use super::*;

    #[test]
    fn limits_become_retention() {
        let engine = "compactor: {retention_enabled: true, delete_request_store: filesystem}\n\
                      limits_config: {retention_period: 30d}\n\
                      logstack: {storage: {max_disk_size: 1GB, max_disk_share: 0}}";
        let (config, _) = logstack_config::load::<EngineConfig>(engine, "engine.yaml").unwrap();
        let overrides = "overrides: {a: {retention_period: 0s, retention_stream: [{selector: '{app=\"x\"}', \
                         priority: 2, period: 24h}]}}";
        let (limits, _) = TenantLimits::load(&config, overrides, "runtime.yaml").unwrap();
        let retention = retention(&limits, &config.logstack.storage);
        let day = Duration::from_secs(86_400);
        assert_eq!(retention.default.period, Some(30 * day));
        let own = &retention.tenants[&TenantId::new("a")];
        assert_eq!((own.period, own.streams.len()), (None, 1));
        assert_eq!((own.streams[0].period, own.streams[0].priority), (Some(day), 2));
        assert_eq!(own.streams[0].matchers[0].name(), "app");
        assert_eq!(retention.size, SizeLimits { bytes_max: Some(1 << 30), volume_share_max: None });
    }
}
