//! Which LogScrapes a LogStack selects, and label selectors in general.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use logstack_crds::stack::LogStackSpec;

/// True when the stack's selectors take the LogScrape. Absent label selector: all; absent namespace selector: the
/// stack's own namespace; an empty one: every namespace.
pub fn selects(
    stack: &LogStackSpec,
    stack_namespace: &str,
    scrape: &ObjectMeta,
    namespace_labels: &BTreeMap<String, String>,
) -> bool {
    let labels = scrape.labels.clone().unwrap_or_default();
    let is_namespace_selected = match &stack.scrape_namespace_selector {
        None => scrape.namespace.as_deref() == Some(stack_namespace),
        Some(selector) => matches(selector, namespace_labels),
    };
    is_namespace_selected && stack.scrape_selector.as_ref().is_none_or(|selector| matches(selector, &labels))
}

/// Source: Kubernetes, "Labels and Selectors": `NotIn` and `DoesNotExist` also select objects without the label.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let by_label = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let by_expression = selector.match_expressions.iter().flatten().all(|requirement| {
        let value = labels.get(&requirement.key);
        let is_listed = value.is_some_and(|value| requirement.values.iter().flatten().any(|listed| listed == value));
        match requirement.operator.as_str() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    by_label && by_expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_by_labels() {
        #[track_caller]
        fn check(selector: &str, want: bool) {
            let selector: LabelSelector = serde_yaml::from_str(selector).unwrap();
            let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
            assert_eq!(matches(&selector, &labels), want, "{selector:?}");
        }
        check("{}", true);
        check("{matchLabels: {app: web}}", true);
        check("{matchLabels: {app: db}}", false);
        check("{matchExpressions: [{key: app, operator: In, values: [web, db]}]}", true);
        check("{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}", false);
        check("{matchExpressions: [{key: tier, operator: NotIn, values: [web]}]}", true);
        check("{matchExpressions: [{key: tier, operator: Exists}]}", false);
        check("{matchExpressions: [{key: tier, operator: DoesNotExist}]}", true);
        check("{matchExpressions: [{key: app, operator: Like}]}", false);
    }

    #[test]
    fn selects_namespaces() {
        #[track_caller]
        fn check(selector: Option<&str>, namespace: &str, want: bool) {
            let stack = LogStackSpec {
                scrape_namespace_selector: selector.map(|text| serde_yaml::from_str(text).unwrap()),
                ..LogStackSpec::default()
            };
            let scrape = ObjectMeta { namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
            let labels = BTreeMap::from([("team".to_owned(), namespace.to_owned())]);
            assert_eq!(selects(&stack, "obs", &scrape, &labels), want, "{selector:?} {namespace}");
        }
        check(None, "obs", true);
        check(None, "shop", false);
        check(Some("{}"), "shop", true);
        check(Some("{matchLabels: {team: shop}}"), "shop", true);
        check(Some("{matchLabels: {team: shop}}"), "obs", false);
    }
}
