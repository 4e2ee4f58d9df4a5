//! What attributes become: `otlp_config`, compiled.

use logstack_config::{AttributeAction, AttributesRule, OtlpConfig};
use logstack_go::re2;
use regex::bytes::Regex;

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A label of the stream.
    Label,
    /// Structured metadata.
    Metadata,
    /// Nothing.
    Drop,
}

/// Rules of one level. The first that matches decides; what matches none is metadata.
#[derive(Debug, Clone, Default)]
pub struct AttributeRules(Vec<(Names, Action)>);

#[derive(Debug, Clone)]
enum Names {
    Exact(Vec<Box<[u8]>>),
    Regex(Regex),
}

impl AttributeRules {
    /// Compiles `rules`. `labels_allowed` is false for scopes, which are no part of a stream's identity: there a
    /// label rule means metadata.
    ///
    /// # Errors
    /// What is wrong with a regular expression.
    fn new(rules: &[AttributesRule], labels_allowed: bool) -> Result<Self, re2::Error> {
        let compile = |rule: &AttributesRule| {
            let names = if rule.attributes.is_empty() && !rule.regex.is_empty() {
                Names::Regex(re2::compile_anchored(&rule.regex)?)
            } else {
                Names::Exact(rule.attributes.iter().map(|name| name.as_bytes().into()).collect())
            };
            let action = match rule.action {
                AttributeAction::IndexLabel if labels_allowed => Action::Label,
                AttributeAction::IndexLabel | AttributeAction::StructuredMetadata => Action::Metadata,
                AttributeAction::Drop => Action::Drop,
            };
            Ok((names, action))
        };
        Ok(Self(rules.iter().map(compile).collect::<Result<_, _>>()?))
    }

    /// What becomes of the attribute `name`, as sent.
    pub fn action(&self, name: &[u8]) -> Action {
        let rule = self.0.iter().find(|(names, _)| match names {
            Names::Exact(names) => names.iter().any(|known| **known == *name),
            Names::Regex(regex) => regex.is_match(name),
        });
        rule.map_or(Action::Metadata, |&(_, action)| action)
    }
}

/// What a tenant's OTLP attributes become.
#[derive(Debug, Clone, Default)]
pub struct OtlpRules {
    /// Attributes of resources.
    pub resource: AttributeRules,
    /// Attributes of scopes.
    pub scope: AttributeRules,
    /// Attributes of records.
    pub record: AttributeRules,
    /// `severity_text` is a label.
    pub severity_text_as_label: bool,
    /// Labels that make a service name; empty: no discovery.
    pub service_labels: Vec<Box<[u8]>>,
}

impl OtlpRules {
    /// Compiles `config`, in which the defaults are already written out, and `discover_service_name`.
    ///
    /// # Errors
    /// What is wrong with a regular expression.
    pub fn new(config: &OtlpConfig, discover_service_name: &[String]) -> Result<Self, re2::Error> {
        Ok(Self {
            resource: AttributeRules::new(&config.resource_attributes.attributes_config, true)?,
            scope: AttributeRules::new(&config.scope_attributes, false)?,
            record: AttributeRules::new(&config.log_attributes, true)?,
            severity_text_as_label: config.severity_text_as_label,
            service_labels: discover_service_name.iter().map(|name| name.as_bytes().into()).collect(),
        })
    }
}
