//! `clients`: where entries go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::http::with_http_client;
use crate::units::{ByteSize, GoDuration};

with_http_client! {
    /// One receiver of entries.
    pub struct ClientConfig {
        /// Unique; names the client in logs and in the disk buffer. Empty: made from the rest.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String = String::new(),
        /// Push URL, whole: `http://loki:3100/loki/api/v1/push`. `user:pass@` in it is basic authentication.
        pub url: String = String::new(),
        /// `X-Scope-OrgID` of entries without an own tenant; empty: no header.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub tenant_id: String = String::new(),
        /// A batch is sent when its first entry waited so long …
        pub batchwait: GoDuration = GoDuration::secs(1),
        /// … or when it holds so many bytes of lines and structured metadata.
        pub batchsize: ByteSize = ByteSize(1_048_576),
        /// Added where nothing else set them; cannot override Content-Type, User-Agent, nor a known tenant.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub headers: BTreeMap<String, String> = BTreeMap::new(),
        /// Time for a request.
        pub timeout: GoDuration = GoDuration::secs(10),
        /// Retries.
        pub backoff_config: BackoffConfig = BackoffConfig::default(),
        /// Labels for entries that do not have them.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub external_labels: BTreeMap<String, String> = BTreeMap::new(),
        /// Drop a batch that is answered with 429.
        pub drop_rate_limited_batches: bool = false,
        /// Ours: positions do not wait for this client.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub best_effort: bool = false,
    }
}

impl ClientConfig {
    /// The URL without the password in it.
    pub fn redacted_url(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else { return self.url.clone() };
        let host_end = rest.find('/').unwrap_or(rest.len());
        match rest[..host_end].rfind('@') {
            Some(at) => format!("{scheme}://<secret>@{}", &rest[at + 1..]),
            None => self.url.clone(),
        }
    }
}

/// `backoff_config`: attempt n waits between min·2ⁿ and min·2ⁿ⁺¹, at most `max_period`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackoffConfig {
    /// First wait.
    pub min_period: GoDuration,
    /// Longest wait.
    pub max_period: GoDuration,
    /// Attempts before a batch is dropped; 0 = for ever. Absent: for ever for what can be read again, 10 otherwise.
    /// (Promtail: 10 for everything, which loses files' entries after some minutes.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { min_period: GoDuration::millis(500), max_period: GoDuration::minutes(5), max_retries: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacts_passwords() {
        #[track_caller]
        fn check(url: &str, want: &str) {
            let client = ClientConfig { url: url.to_owned(), ..ClientConfig::default() };
            assert_eq!(client.redacted_url(), want);
        }
        check("http://loki:3100/push", "http://loki:3100/push");
        check("https://me:p@ss@loki/push?a=b@c", "https://<secret>@loki/push?a=b@c");
        check("nonsense", "nonsense");
    }
}
