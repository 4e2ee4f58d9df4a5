//! Label names and values to streams, as bitmaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use logstack_logql::matcher::CompiledMatcher;
use roaring::RoaringBitmap;

use crate::model::{Stream, StreamId};

/// Number of a stream within its tenant. Given in the order of first sight, in this process only; never reused.
pub type StreamNo = u32;

/// See the module. Values of a name are sorted, so that answers need no sort.
#[derive(Default)]
pub struct Index {
    /// By number; `None` once forgotten.
    streams: Vec<Option<Arc<Stream>>>,
    numbers: HashMap<StreamId, StreamNo>,
    all: RoaringBitmap,
    names: BTreeMap<Box<str>, Name>,
}

#[derive(Default)]
struct Name {
    /// Streams that have the label.
    streams: RoaringBitmap,
    values: BTreeMap<Box<str>, RoaringBitmap>,
}

impl Index {
    /// The stream with this id.
    pub fn find(&self, id: StreamId) -> Option<(StreamNo, Arc<Stream>)> {
        let number = *self.numbers.get(&id)?;
        Some((number, self.stream(number)?.clone()))
    }

    /// The stream with this number, unless forgotten.
    pub fn stream(&self, number: StreamNo) -> Option<&Arc<Stream>> {
        self.streams.get(number as usize)?.as_ref()
    }

    /// Number of streams.
    pub fn len(&self) -> u64 {
        self.all.len()
    }

    /// True without streams.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds `stream`, unless it is there.
    pub fn insert(&mut self, stream: &Arc<Stream>) -> (StreamNo, Arc<Stream>) {
        if let Some(known) = self.find(stream.id) {
            return known;
        }
        let number = u32::try_from(self.streams.len()).expect("fewer than 2^32 streams in the life of a process");
        self.streams.push(Some(stream.clone()));
        self.numbers.insert(stream.id, number);
        self.all.insert(number);
        for (name, value) in stream.labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), Name::default());
            }
            let entry = self.names.get_mut(name).expect("inserted above");
            entry.streams.insert(number);
            match entry.values.get_mut(value) {
                Some(streams) => {
                    streams.insert(number);
                }
                None => {
                    entry.values.insert(value.into(), RoaringBitmap::from_iter([number]));
                }
            }
        }
        (number, stream.clone())
    }

    /// Forgets a stream.
    pub fn remove(&mut self, number: StreamNo) {
        let Some(stream) = self.streams.get_mut(number as usize).and_then(Option::take) else { return };
        self.numbers.remove(&stream.id);
        self.all.remove(number);
        for (name, value) in stream.labels.iter() {
            let Some(entry) = self.names.get_mut(name) else { continue };
            entry.streams.remove(number);
            if let Some(streams) = entry.values.get_mut(value) {
                streams.remove(number);
                if streams.is_empty() {
                    entry.values.remove(value);
                }
            }
            if entry.streams.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The streams on which all `matchers` hold.
    pub fn select(&self, matchers: &[CompiledMatcher]) -> RoaringBitmap {
        let mut selected: Option<RoaringBitmap> = None;
        // Matchers that name their values are cheap and narrow: they go first, and an empty result ends it.
        let (listed, others): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.accepted_values().is_some());
        for matcher in listed.into_iter().chain(others) {
            let found = match &selected {
                Some(so_far) if so_far.is_empty() => break,
                // Few streams left: looking at their labels beats looking at all values of a name.
                Some(so_far) if so_far.len() < 64 => self.filter(so_far, matcher),
                Some(so_far) => so_far & self.matching(matcher),
                None => self.matching(matcher),
            };
            selected = Some(found);
        }
        selected.unwrap_or_else(|| self.all.clone())
    }

    fn filter(&self, streams: &RoaringBitmap, matcher: &CompiledMatcher) -> RoaringBitmap {
        let holds = |&number: &StreamNo| {
            self.stream(number).is_some_and(|s| matcher.matches(s.labels.get(matcher.name()).unwrap_or("")))
        };
        streams.iter().filter(holds).collect()
    }

    fn matching(&self, matcher: &CompiledMatcher) -> RoaringBitmap {
        let Some(name) = self.names.get(matcher.name()) else {
            return if matcher.accepts_empty() { self.all.clone() } else { RoaringBitmap::new() };
        };
        let mut found = if matcher.accepts_empty() { &self.all - &name.streams } else { RoaringBitmap::new() };
        if let Some(values) = matcher.accepted_values() {
            for streams in values.iter().filter_map(|value| name.values.get(value.as_str())) {
                found |= streams;
            }
        } else if let Some(values) = matcher.refused_values() {
            found |= &name.streams;
            for streams in values.iter().filter_map(|value| name.values.get(value.as_str())) {
                found -= streams;
            }
        } else {
            for (value, streams) in &name.values {
                if matcher.matches(value) {
                    found |= streams;
                }
            }
        }
        found
    }

    /// Label names of `streams`, sorted.
    pub fn names(&self, streams: &RoaringBitmap) -> Vec<String> {
        let found = self.names.iter().filter(|(_, name)| !name.streams.is_disjoint(streams));
        found.map(|(text, _)| text.to_string()).collect()
    }

    /// Values of label `name` among `streams`, sorted.
    pub fn values(&self, name: &str, streams: &RoaringBitmap) -> Vec<String> {
        let Some(name) = self.names.get(name) else { return Vec::new() };
        let found = name.values.iter().filter(|(_, value)| !value.is_disjoint(streams));
        found.map(|(text, _)| text.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{matchers, stream};

    fn index() -> Index {
        let mut index = Index::default();
        for labels in [r#"app="api" pod="a-1""#, r#"app="api" pod="a-2""#, r#"app="web" pod="w-1""#, r#"job="x""#] {
            index.insert(&stream(labels));
        }
        index
    }

    #[test]
    fn selects_by_matchers() {
        let index = index();
        #[track_caller]
        fn check(index: &Index, selector: &str, want: &[u32]) {
            assert_eq!(index.select(&matchers(selector)).iter().collect::<Vec<_>>(), want, "{selector}");
            // The same through the labels of the streams, as for small intermediate results.
            let by_labels = matchers(selector).iter().fold(index.all.clone(), |found, m| index.filter(&found, m));
            assert_eq!(by_labels.iter().collect::<Vec<_>>(), want, "{selector}, by labels");
        }
        check(&index, r#""#, &[0, 1, 2, 3]);
        check(&index, r#"app="api""#, &[0, 1]);
        check(&index, r#"app="api" pod="a-2""#, &[1]);
        check(&index, r#"app="nope""#, &[]);
        check(&index, r#"app="""#, &[3]);
        check(&index, r#"app!="""#, &[0, 1, 2]);
        check(&index, r#"app!="api""#, &[2, 3]);
        check(&index, r#"app=~"api|web""#, &[0, 1, 2]);
        check(&index, r#"app=~".*""#, &[0, 1, 2, 3]);
        check(&index, r#"app=~".+" pod!~"a-.*""#, &[2]);
        check(&index, r#"app!~"a.*""#, &[2, 3]);
        check(&index, r#"none="""#, &[0, 1, 2, 3]);
        check(&index, r#"none!="""#, &[]);
        check(&index, r#"none=~".*""#, &[0, 1, 2, 3]);
        check(&index, r#"none!~"x""#, &[0, 1, 2, 3]);
    }

    #[test]
    fn lists_names_and_values_of_streams() {
        let mut index = index();
        let api = index.select(&matchers(r#"app="api""#));
        assert_eq!(index.names(&api), ["app", "pod"]);
        assert_eq!(index.values("pod", &api), ["a-1", "a-2"]);
        assert_eq!(index.values("job", &api), Vec::<String>::new());
        index.remove(1);
        index.remove(1);
        assert_eq!(index.values("pod", &index.all), ["a-1", "w-1"]);
        index.remove(3);
        assert_eq!(index.names(&index.all), ["app", "pod"]);
        assert_eq!(index.len(), 2);
        assert_eq!(index.insert(&stream(r#"job="x""#)).0, 4, "numbers are not reused");
    }
}
