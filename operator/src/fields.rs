//! For tests: the fields of a definition, and those that a patch sets. A new field without a test is found by it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Kubernetes' own types, and bodies that other tests are about: their inner fields are not ours.
const WHOLE: [&str; 14] = [
    "affinity",
    "configMapSelector",
    "env",
    "imagePullSecrets",
    "loadBalancerSourceRanges",
    "pipelineStages",
    "relabelings",
    "resources",
    "scrapeNamespaceSelector",
    "scrapeSelector",
    "securityContext",
    "selector",
    "tolerations",
    "topologySpreadConstraints",
];

/// The fields of one kind's spec.
pub(crate) struct Fields {
    schema: Value,
    all: BTreeSet<String>,
    touched: BTreeSet<String>,
}

impl Fields {
    /// All fields of `kind`, none of them touched.
    pub(crate) fn of(kind: &str) -> Self {
        let definitions = logstack_crds::definitions().unwrap();
        let definition = definitions.into_iter().find(|definition| definition.spec.names.kind == kind).unwrap();
        let definition = serde_json::to_value(definition).unwrap();
        let schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
        let mut all = BTreeSet::new();
        walk("", &schema, None, &mut all);
        Self { schema, all, touched: BTreeSet::new() }
    }

    /// Notes what `patch` sets.
    pub(crate) fn touch(&mut self, patch: &str) {
        walk("", &self.schema, Some(&serde_yaml::from_str(patch).unwrap()), &mut self.touched);
    }

    /// Fields that no patch has set, those below `exempt` left out.
    pub(crate) fn untouched(&self, exempt: &[&str]) -> Vec<&str> {
        let is_exempt = |field: &&String| exempt.iter().any(|prefix| field.starts_with(prefix));
        self.all.difference(&self.touched).filter(|field| !is_exempt(field)).map(String::as_str).collect()
    }
}

/// Collects the paths of leaves: of the schema, or of those parts of it that `patch` sets.
fn walk(path: &str, schema: &Value, patch: Option<&Value>, out: &mut BTreeSet<String>) {
    let name = path.rsplit('.').next().unwrap_or_default();
    let properties = schema["properties"].as_object().filter(|properties| !properties.is_empty());
    let inner = [("[]", &schema["items"]), ("{}", &schema["additionalProperties"])];
    let inner = inner.into_iter().find(|(_, inner)| inner["properties"].is_object());
    if WHOLE.contains(&name) || properties.is_none() && inner.is_none() {
        out.insert(path.to_owned());
        return;
    }
    for (key, property) in properties.into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match patch {
            None => walk(&path, property, None, out),
            Some(patch) => patch.get(key).into_iter().for_each(|value| walk(&path, property, Some(value), out)),
        }
    }
    let Some((mark, inner)) = inner else { return };
    let path = format!("{path}{mark}");
    match patch {
        None => walk(&path, inner, None, out),
        Some(Value::Array(items)) => items.iter().for_each(|item| walk(&path, inner, Some(item), out)),
        Some(Value::Object(items)) => items.values().for_each(|item| walk(&path, inner, Some(item), out)),
        Some(_) => {}
    }
}
