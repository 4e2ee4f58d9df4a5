//! What the configuration says about what is kept, in storage's terms.

use std::time::Duration;

use logstack_config::{DeletionMode, EngineConfig, Limits, PromDuration, TenantLimits};
use logstack_logql::matcher::CompiledMatcher;
use logstack_logql::parse_selector;
use tracing::error;

use crate::model::TenantId;
use crate::storage::retention::{Retention, SizeLimits, StreamRetention, TenantRetention};

/// The rules of all tenants, and the size of all data.
pub fn retention(config: &EngineConfig, limits: &TenantLimits) -> Retention {
    let (storage, settings) = (&config.logstack.storage, limits.settings());
    let share = settings.max_disk_share.unwrap_or(storage.max_disk_share);
    let bytes = settings.max_disk_size.unwrap_or(storage.max_disk_size).bytes();
    Retention {
        default: of_tenant(limits.default_limits()),
        tenants: limits.overridden().map(|(tenant, own)| (TenantId::new(tenant), of_tenant(own))).collect(),
        size: SizeLimits { bytes_max: (bytes > 0).then_some(bytes), volume_share_max: (share > 0.0).then_some(share) },
        delete_after: config.compactor.delete_request_cancel_period.get(),
    }
}

fn of_tenant(limits: &Limits) -> TenantRetention {
    TenantRetention {
        period: period(limits.retention_period),
        streams: limits.retention_stream.iter().filter_map(of_streams).collect(),
        removes_deleted: limits.deletion_mode == DeletionMode::FilterAndDelete,
    }
}

/// Selectors were checked when the configuration was read; one that does not compile keeps everything.
fn of_streams(rule: &logstack_config::StreamRetention) -> Option<StreamRetention> {
    let matchers = parse_selector(&rule.selector)
        .map_err(|err| err.to_string())
        .and_then(|matchers| {
            matchers.iter().map(CompiledMatcher::new).collect::<Result<Vec<_>, _>>().map_err(|err| err.to_string())
        })
        .inspect_err(|err| error!(selector = rule.selector, error = err, "a retention rule is ignored"))
        .ok()?;
    Some(StreamRetention { matchers, priority: rule.priority.into(), period: period(rule.period) })
}

/// 0 is for ever.
fn period(configured: PromDuration) -> Option<Duration> {
    (!configured.is_zero()).then(|| configured.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use logstack_config::load;

    #[test]
    fn says_what_the_configuration_says() {
        let text = "compactor: {retention_enabled: true, delete_request_cancel_period: 2h}\n\
                    limits_config:\n  retention_period: 30d\n  retention_stream:\n  \
                    - {selector: '{app=\"x\"}', priority: 3, period: 7d}\n";
        let (config, _) = load::<EngineConfig>(text, "engine.yaml").unwrap();
        let overrides = "overrides: {a: {retention_period: 60d, deletion_mode: filter-only}}\n\
                         logstack: {max_disk_size: 10GB, max_disk_share: 0}\n";
        let (limits, _) = TenantLimits::load(&config, overrides, "overrides.yaml").unwrap();
        let retention = retention(&config, &limits);
        let days = |n: u64| Some(Duration::from_secs(n * 86_400));
        assert_eq!((retention.default.period, retention.default.removes_deleted), (days(30), true));
        let rule = &retention.default.streams[0];
        assert_eq!((rule.priority, rule.period, rule.matchers.len()), (3, days(7), 1));
        let own = retention.of(&TenantId::new("a"));
        assert_eq!((own.period, own.removes_deleted), (days(60), false));
        assert_eq!(retention.size, SizeLimits { bytes_max: Some(10 << 30), volume_share_max: None });
        assert_eq!(retention.delete_after, Duration::from_secs(7200));

        let config = EngineConfig::default();
        let retention = super::retention(&config, &TenantLimits::new(&config));
        assert_eq!((retention.default.period, retention.size.volume_share_max), (None, Some(0.9)));
    }
}
