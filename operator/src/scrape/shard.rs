//! Jobs -> ConfigMaps. A ConfigMap holds 1 MiB; a job that has a place keeps it, so that a new one rewrites one object.

use std::collections::BTreeMap;

use crate::names::SHARDS_MAX;

/// Bytes of a ConfigMap that we fill, of the 1 MiB that the API server takes.
pub const SHARD_BYTES_MAX: usize = 900 << 10;

/// As [`assign`] takes what is observed.
#[cfg(test)]
pub(super) fn borrowed(shards: &[BTreeMap<String, String>]) -> Vec<BTreeMap<&str, &str>> {
    shards.iter().map(|jobs| jobs.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect()).collect()
}

/// Assigns `wanted` jobs to shards, those in `observed` to where they are. Returns the jobs that have no place.
pub fn assign(
    observed: &[BTreeMap<&str, &str>],
    mut wanted: BTreeMap<String, String>,
) -> (Vec<BTreeMap<String, String>>, Vec<String>) {
    let mut shards: Vec<BTreeMap<String, String>> = vec![BTreeMap::new(); SHARDS_MAX];
    let mut sizes = [0usize; SHARDS_MAX];
    let mut left_out = Vec::new();
    for (idx, jobs) in observed.iter().enumerate().take(SHARDS_MAX) {
        for key in jobs.keys() {
            let Some(text) = wanted.remove(*key) else { continue };
            if sizes[idx] + text.len() + key.len() > SHARD_BYTES_MAX {
                // It grew beyond its shard: it is placed anew.
                wanted.insert((*key).to_owned(), text);
                continue;
            }
            sizes[idx] += text.len() + key.len();
            shards[idx].insert((*key).to_owned(), text);
        }
    }
    for (key, text) in wanted {
        let bytes = text.len() + key.len();
        match (0..SHARDS_MAX).find(|&idx| sizes[idx] + bytes <= SHARD_BYTES_MAX) {
            Some(idx) => {
                sizes[idx] += bytes;
                shards[idx].insert(key, text);
            }
            None => left_out.push(key),
        }
    }
    (shards, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(names: &[(&str, usize)]) -> BTreeMap<String, String> {
        names.iter().map(|(name, bytes)| ((*name).to_owned(), "x".repeat(*bytes))).collect()
    }

    #[test]
    fn an_assigned_job_never_moves() {
        let (first, left) = assign(&[], jobs(&[("a", 500 << 10), ("b", 500 << 10), ("c", 10)]));
        assert_eq!((first[0].len(), first[1].len(), left.len()), (2, 1, 0));
        let (second, _) = assign(&borrowed(&first), jobs(&[("b", 500 << 10), ("c", 20), ("d", 10)]));
        assert!(second[1].contains_key("b"), "although there is room in the first now");
        assert!(second[0].contains_key("c") && second[0].contains_key("d"));
    }

    #[test]
    fn what_has_no_place_is_named() {
        let names: Vec<String> = (0..9).map(|idx| format!("job{idx}")).collect();
        let sizes: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 800 << 10)).collect();
        let (shards, left) = assign(&[], jobs(&sizes));
        assert_eq!((shards.iter().filter(|s| !s.is_empty()).count(), left), (8, vec!["job8".to_owned()]));
    }
}
