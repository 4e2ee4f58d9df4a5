//! A template: the separators of its lines, and their words, some of them placeholders.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::tokens::{Kind, Words};

/// What stands for a word that varies.
pub const PLACEHOLDER: &str = "<_>";

/// A place of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// The same in all lines of the shape.
    Key(Box<str>),
    /// The same in all lines so far.
    Text(Box<str>),
    /// Anything.
    Any,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Template {
    /// What stands before each place, and behind the last: one more than places.
    pub separators: Box<[Box<str>]>,
    /// The words.
    pub places: Box<[Place]>,
    /// Lines go on behind what is kept of them.
    pub is_cut: bool,
}

impl Template {
    /// The template of one line.
    pub fn of(line: &str, words: &Words) -> Self {
        let places = words.words.iter().map(|word| match word.kind {
            Kind::Key => Place::Key(line[word.start..word.end].into()),
            Kind::Text => Place::Text(line[word.start..word.end].into()),
            Kind::Variable => Place::Any,
        });
        Self {
            separators: (0..=words.words.len()).map(|idx| words.separator(line, idx).into()).collect(),
            places: places.collect(),
            is_cut: words.is_cut,
        }
    }

    /// How many of its texts the line has in their places, and how many texts there are. The line is of the template's
    /// shape.
    pub fn compare(&self, line: &str, words: &Words) -> (usize, usize) {
        let (mut same, mut texts) = (0, 0);
        for (place, word) in self.places.iter().zip(&words.words) {
            if let Place::Text(text) = place {
                texts += 1;
                same += usize::from(word.kind == Kind::Text && line[word.start..word.end] == **text);
            }
        }
        (same, texts)
    }

    /// Makes placeholders of the texts that the line does not have.
    pub fn widen(&mut self, line: &str, words: &Words) {
        for (place, word) in self.places.iter_mut().zip(&words.words) {
            if matches!(place, Place::Text(text) if word.kind != Kind::Text || line[word.start..word.end] != **text) {
                *place = Place::Any;
            }
        }
    }

    /// True when every line of `other` is a line of this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.separators == other.separators
            && self.is_cut == other.is_cut
            && self.places.len() == other.places.len()
            && self.places.iter().zip(&other.places).all(|(own, other)| matches!(own, Place::Any) || own == other)
    }

    /// The [`Words::shape_hash`] of its lines.
    pub fn shape_hash(&self, seed: u64) -> u64 {
        let mut key = Vec::new();
        for (separator, place) in self.separators.iter().zip(&self.places) {
            key.extend_from_slice(separator.as_bytes());
            key.push(0xff);
            if let Place::Key(text) = place {
                key.extend_from_slice(text.as_bytes());
                key.push(0xfe);
            }
        }
        key.extend_from_slice(self.separators.last().map_or(&[][..], |separator| separator.as_bytes()));
        key.push(u8::from(self.is_cut));
        xxh3_64_with_seed(&key, seed)
    }

    /// True when places and separators fit together; what is read from disk may not.
    pub fn is_sound(&self) -> bool {
        self.separators.len() == self.places.len() + 1
    }

    /// The pattern as it is shown, and as a pattern filter (`|>`) takes it.
    pub fn pattern(&self) -> String {
        let mut text = String::from(&*self.separators[0]);
        for (place, separator) in self.places.iter().zip(&self.separators[1..]) {
            match place {
                Place::Key(word) | Place::Text(word) => text.push_str(word),
                Place::Any => text.push_str(PLACEHOLDER),
            }
            text.push_str(separator);
        }
        if self.is_cut {
            // Two placeholders in a row are no pattern; behind the last separator there is always a word.
            text.push_str(PLACEHOLDER);
        }
        text
    }

    /// Memory, about.
    pub fn bytes(&self) -> usize {
        // An allocation of a few bytes takes 32.
        let text = |text: &str| if text.is_empty() { 0 } else { text.len().max(16) + 16 };
        let places = self.places.iter().map(|place| match place {
            Place::Key(word) | Place::Text(word) => text(word),
            Place::Any => 0,
        });
        let separators = self.separators.iter().map(|separator| text(separator));
        separators.sum::<usize>() + places.sum::<usize>() + self.places.len() * 40 + 300
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patterns::tokens::WORDS_MAX;

    fn words(line: &str) -> Words {
        let mut words = Words::default();
        words.read(line);
        words
    }

    #[test]
    fn shows_and_widens() {
        let mut template = Template::of("user=ann did 7 things", &words("user=ann did 7 things"));
        assert_eq!(template.pattern(), "user=ann did <_> things");
        let other = "user=bob did 8 things";
        assert_eq!(template.compare(other, &words(other)), (2, 3));
        let narrow = template.clone();
        template.widen(other, &words(other));
        assert_eq!(template.pattern(), "user=<_> did <_> things");
        let line = "user=eve did 9 things";
        assert_eq!(template.shape_hash(3), words(line).shape_hash(line, 3));
        assert!(template.covers(&narrow) && !narrow.covers(&template) && template.is_sound());
    }

    #[test]
    fn a_cut_line_ends_in_a_placeholder() {
        let line = "a ".repeat(WORDS_MAX + 5);
        let pattern = Template::of(&line, &words(&line)).pattern();
        assert!(pattern.ends_with("a <_>"), "{pattern}");
    }

    #[test]
    fn patterns_are_pattern_filters() {
        for line in ["status <none> of 1", "{\"a\":{\"b\":\"c 1\"}}", "x=<a b> 5,6", "say \"it's\" `so` 1|2"] {
            let pattern = Template::of(line, &words(line)).pattern();
            let query = format!("{{a=\"b\"}} |> {}", logstack_go::quote::Quoted(&pattern));
            assert!(logstack_logql::parse(&query).is_ok(), "{query}: {:?}", logstack_logql::parse(&query));
        }
    }
}
