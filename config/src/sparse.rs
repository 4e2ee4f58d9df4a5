//! What a configuration says beyond the defaults: short files, and `/config?mode=diffs`.

use serde::Serialize;
use serde_yaml::{Mapping, Value};

/// The keys of `value` that differ from `default`, block by block. Lists are compared whole.
///
/// # Errors
/// Only if a value cannot be serialised.
pub fn differences<T: Serialize>(value: &T, default: &T) -> Result<Value, serde_yaml::Error> {
    let (value, default) = (serde_yaml::to_value(value)?, serde_yaml::to_value(default)?);
    Ok(differing(value, &default).unwrap_or_else(|| Value::Mapping(Mapping::new())))
}

fn differing(value: Value, default: &Value) -> Option<Value> {
    match (value, default) {
        (Value::Mapping(entries), Value::Mapping(defaults)) => {
            let kept: Mapping = entries
                .into_iter()
                .filter_map(|(key, value)| match defaults.get(&key) {
                    Some(default) => differing(value, default).map(|value| (key, value)),
                    None => Some((key, value)),
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Mapping(kept))
        }
        (value, default) => (value != *default).then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EngineConfig, load};

    #[test]
    fn keeps_what_differs_and_reads_back() {
        let text = "server:\n  http_listen_port: 3200\nlimits_config:\n  ingestion_rate_mb: 9.0\n";
        let (config, _) = load::<EngineConfig>(text, "f").unwrap();
        let sparse = serde_yaml::to_string(&differences(&config, &EngineConfig::default()).unwrap()).unwrap();
        assert_eq!(sparse, text);
        let nothing = differences(&config, &config).unwrap();
        assert_eq!(serde_yaml::to_string(&nothing).unwrap(), "{}\n");
    }
}
