//! What a user writes: [`LogStack`] and [`LogScrape`], group `logstack.dev`, version `v1alpha1`.
//!
//! The types embed sections of `config`, so that a custom resource, an engine file and a collector file have one
//! definition. What CEL can check stands beside each field; what it cannot is checked by [`document`].
//!
//! ```text
//! YAML -> document::parse -> Documents -> standalone()            -> logstack run
//!                                      -> render::{engine, job, …} -> the operator's ConfigMaps
//! ```
#![warn(unreachable_pub)]

mod document;
pub mod migrate;
pub mod quantity;
pub mod render;
mod rules;
mod schema;
pub mod scrape;
pub mod stack;
mod standalone;
#[cfg(test)]
mod tests;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use document::{Documents, Placed, is_ours, parse};
pub use scrape::{LogScrape, LogScrapeSpec, LogScrapeStatus};
pub use stack::{LogStack, LogStackSpec, LogStackStatus};
pub use standalone::{Placement, Standalone, check, standalone};

/// The API group of both kinds.
pub const GROUP: &str = "logstack.dev";

/// The API version of both kinds.
pub const VERSION: &str = "v1alpha1";

/// Services are named after a stack, so DNS-1035; `<name>-engine` must leave 11 characters of a label for the
/// revision's hash.
const STACK_RULES: [(&str, &str); 1] = [(
    "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name: at most 40 of a-z 0-9 -, a letter first",
)];

/// The definitions to install.
///
/// # Errors
/// Only if a schema that we generated were no schema.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    Ok(vec![schema::finish(LogStack::crd(), &STACK_RULES)?, schema::finish(LogScrape::crd(), &[])?])
}

/// The definitions as YAML documents, as `logstack crds` prints them.
///
/// # Errors
/// Only if a schema that we generated were no schema.
pub fn yaml() -> Result<String, serde_yaml::Error> {
    let definitions = definitions().map_err(<serde_yaml::Error as serde::ser::Error>::custom)?;
    let mut out = String::new();
    for definition in &definitions {
        out.push_str("---\n");
        out.push_str(&serde_yaml::to_string(definition)?);
    }
    Ok(out)
}
