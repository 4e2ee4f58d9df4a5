//! `tenant`: whose entry it is. The tenant travels as a label that is never sent, and splits batches.

use std::sync::Arc;

use logstack_config::collector::stage::TenantStage;

use crate::pipeline::entry::{Entry, TENANT_LABEL};

/// The stage.
#[derive(Debug)]
pub struct Tenant {
    label: Arc<str>,
    from: From,
}

#[derive(Debug)]
enum From {
    Label(String),
    Extracted(String),
    Constant(String),
}

impl Tenant {
    /// Exactly one of the three is given.
    pub fn new(config: &TenantStage) -> Self {
        let from = if !config.label.is_empty() {
            From::Label(config.label.clone())
        } else if !config.source.is_empty() {
            From::Extracted(config.source.clone())
        } else {
            From::Constant(config.value.clone())
        };
        Self { label: TENANT_LABEL.into(), from }
    }

    /// Runs the stage. An empty tenant changes nothing.
    pub fn run(&self, entry: &mut Entry) {
        let tenant = match &self.from {
            From::Label(name) => entry.labels.get(name).to_owned(),
            From::Extracted(name) => entry.string(name).unwrap_or_default().to_owned(),
            From::Constant(value) => value.clone(),
        };
        if !tenant.is_empty() {
            entry.labels.set(&self.label, &tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::check;

    #[test]
    fn sets_the_tenant() {
        check("- tenant: {value: t}", &["l"], &["t{} 0 l"]);
        check("- static_labels: {a: x}\n- tenant: {label: a}", &["l"], &[r#"x{a="x"} 0 l"#]);
        check("- regex: {expression: '(?P<o>\\w+)'}\n- tenant: {source: o}", &["org1 x"], &["org1{} 0 org1 x"]);
        check("- tenant: {source: none}", &["l"], &["{} 0 l"]);
        check("- tenant: {label: none}", &["l"], &["{} 0 l"]);
        check("- tenant: {value: a}\n- tenant: {source: none}", &["l"], &["a{} 0 l"]);
    }
}
