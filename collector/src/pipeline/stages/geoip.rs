//! `geoip`: labels by what a MaxMind database knows of an IP address.
//!
//! Source: contract of the collector, section 5; Promtail 3.6, `geoip` (subdivision: the most specific one; names in
//! English).

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logstack_config::collector::stage::GeoIpStage;
use tracing::warn;

use crate::pipeline::Context;
use crate::pipeline::compile::Error;
use crate::pipeline::entry::Entry;
use crate::pipeline::mmdb::{Database, Value};

/// Addresses that are remembered before the memory starts over: the busy ones come again and again.
const ADDRESSES_MAX: usize = 4096;
/// How often it is asked whether there is a newer file.
const CHECK_PERIOD: Duration = Duration::from_secs(60);

type Found = Arc<[(Arc<str>, String)]>;

/// The stage.
#[derive(Debug)]
pub struct GeoIp {
    source: String,
    path: PathBuf,
    fields: Vec<Field>,
    database: Database,
    /// Inode and time of the last change of the open file.
    version: Option<(u64, i64)>,
    checked: Option<Instant>,
    known: HashMap<IpAddr, Found>,
    is_damage_told: bool,
}

/// A label, and where its value is.
#[derive(Debug)]
struct Field {
    label: Arc<str>,
    path: &'static [&'static str],
}

/// Of a list the last: the most specific subdivision.
const LAST: &str = "[-1]";

const CITY: &[(&str, &[&str])] = &[
    ("geoip_city_name", &["city", "names", "en"]),
    ("geoip_country_name", &["country", "names", "en"]),
    ("geoip_continent_name", &["continent", "names", "en"]),
    ("geoip_continent_code", &["continent", "code"]),
    ("geoip_location_latitude", &["location", "latitude"]),
    ("geoip_location_longitude", &["location", "longitude"]),
    ("geoip_postal_code", &["postal", "code"]),
    ("geoip_timezone", &["location", "time_zone"]),
    ("geoip_subdivision_name", &["subdivisions", LAST, "names", "en"]),
    ("geoip_subdivision_code", &["subdivisions", LAST, "iso_code"]),
];
const ASN: &[(&str, &[&str])] = &[
    ("geoip_autonomous_system_number", &["autonomous_system_number"]),
    ("geoip_autonomous_system_organization", &["autonomous_system_organization"]),
];

impl GeoIp {
    /// Opens the database.
    ///
    /// # Errors
    /// A file that cannot be read, or is no such database.
    pub fn new(config: &GeoIpStage) -> Result<Self, Error> {
        let path = PathBuf::from(&config.db);
        let database = Database::open(&path).map_err(|err| Error::new("db", format!("{} {err}", path.display())))?;
        let of_kind = match config.db_type.as_str() {
            "asn" => "ASN",
            "country" => "Country",
            _ => "City",
        };
        if !database.kind.contains(of_kind) && !database.kind.contains("Enterprise") {
            let (kind, db_type) = (&database.kind, &config.db_type);
            warn!(path = %path.display(), kind, db_type, "the database is of another kind and may know nothing");
        }
        // A database of countries has some of a city's fields.
        let fields = if config.db_type == "asn" { ASN } else { CITY };
        let fields = fields.iter().map(|(label, path)| Field { label: (*label).into(), path }).collect();
        let version = version(&path);
        let (source, known) = (config.source.clone(), HashMap::new());
        Ok(Self { source, path, fields, database, version, checked: None, known, is_damage_told: false })
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry, cx: &Context<'_>) {
        let Some(address) = entry.string(&self.source).and_then(|text| text.trim().parse().ok()) else { return };
        self.look_for_newer(cx.now);
        let found = match self.known.get(&address) {
            Some(found) => found.clone(),
            None => {
                let found = self.find(address);
                if self.known.len() >= ADDRESSES_MAX {
                    self.known.clear();
                }
                self.known.insert(address, found.clone());
                found
            }
        };
        found.iter().for_each(|(label, value)| entry.labels.set(label, value));
    }

    fn find(&mut self, address: IpAddr) -> Found {
        let value = match self.database.lookup(address) {
            Ok(Some(value)) => value,
            Ok(None) => return Found::default(),
            Err(err) => {
                if !std::mem::replace(&mut self.is_damage_told, true) {
                    warn!(error = %err, path = %self.path.display(), "a database of addresses cannot be read");
                }
                return Found::default();
            }
        };
        let text = |field: &Field| Some((field.label.clone(), text(at(&value, field.path)?)?));
        self.fields.iter().filter_map(text).collect()
    }

    /// Takes a file that has replaced the open one; one that cannot be used is passed over.
    fn look_for_newer(&mut self, now: Instant) {
        if self.checked.is_some_and(|at| now.saturating_duration_since(at) < CHECK_PERIOD) {
            return;
        }
        self.checked = Some(now);
        let version = version(&self.path);
        if version.is_none() || version == self.version {
            return;
        }
        match Database::open(&self.path) {
            Ok(database) => {
                (self.database, self.version) = (database, version);
                self.known.clear();
            }
            Err(err) => {
                self.version = version;
                warn!(error = %err, path = %self.path.display(), "a newer database of addresses is not usable");
            }
        }
    }
}

fn version(path: &std::path::Path) -> Option<(u64, i64)> {
    path.metadata().ok().map(|metadata| (metadata.ino(), metadata.mtime()))
}

fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| match (value, *key) {
        (Value::Array(values), LAST) => values.last(),
        (value, key) => value.get(key),
    })
}

/// `None` for what is empty: no such label is set.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if !text.is_empty() => Some(text.clone()),
        Value::Float(number) if *number != 0.0 => Some(number.to_string()),
        Value::Unsigned(number) if *number != 0 => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::{Scene, check};

    fn stages(kind: &str, file: &str) -> String {
        let db = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pipeline/testdata");
        format!("- logfmt: {{mapping: {{ip: }}}}\n- geoip: {{db: {db}/{file}.mmdb, source: ip, db_type: {kind}}}")
    }

    #[test]
    fn labels_what_is_known() {
        let city = stages("city", "GeoLite2-City-Test");
        let of_london = concat!(
            r#"{geoip_city_name="London", geoip_continent_code="EU", geoip_continent_name="Europe", "#,
            r#"geoip_country_name="United Kingdom", geoip_location_latitude="51.5142", "#,
            r#"geoip_location_longitude="-0.0931", geoip_subdivision_code="ENG", geoip_subdivision_name="England", "#,
            r#"geoip_timezone="Europe/London"} 0 ip=81.2.69.160"#
        );
        check(&city, &["ip=81.2.69.160"], &[of_london]);
        let asn = stages("asn", "GeoLite2-ASN-Test");
        let of_telstra = concat!(
            r#"{geoip_autonomous_system_number="1221", "#,
            r#"geoip_autonomous_system_organization="Telstra Pty Ltd"} 0 ip=1.128.0.0"#
        );
        check(&asn, &["ip=1.128.0.0", "ip=1.128.0.0"], &[of_telstra, of_telstra]);
        for line in ["ip=127.0.0.1", "ip=::1", "ip=host", "ip=", "no address"] {
            check(&city, &[line], &[&format!("{{}} 0 {line}")]);
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused() {
        for file in ["nothing", "GeoIP2-City-Test-Invalid-Node-Count"] {
            let outcome = std::panic::catch_unwind(|| Scene::new(&stages("city", file)));
            assert!(outcome.is_err(), "{file}");
        }
    }
}
