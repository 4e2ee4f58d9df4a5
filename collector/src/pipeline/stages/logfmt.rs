//! `logfmt`: values of `key=value` pairs become extracted values.

use std::sync::Arc;

use logstack_config::collector::stage::LogfmtStage;

use super::input;
use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Logfmt {
    /// Extracted name and key; several names may take one key.
    mapping: Vec<(Arc<str>, String)>,
    source: Option<String>,
    text: String,
    unquoted: String,
}

impl Logfmt {
    /// Of the mapping.
    pub fn new(config: &LogfmtStage) -> Self {
        let mapping = config.mapping.iter().map(|(name, key)| (name.into(), key.to_owned())).collect();
        Self { mapping, source: config.source.clone(), text: String::new(), unquoted: String::new() }
    }

    /// Runs the stage. What was read before a mistake counts.
    pub fn run(&mut self, entry: &mut Entry) {
        let Self { mapping, source, text, unquoted } = self;
        text.clear();
        match input(entry, source.as_deref()) {
            Some(input) => text.push_str(&input),
            None => return,
        }
        let mut pairs = Pairs { text, at: 0 };
        while let Some((key, value)) = pairs.next_pair(unquoted) {
            for (name, _) in mapping.iter().filter(|(_, wanted)| wanted == key) {
                entry.extracted.set_bytes(name, value.as_bytes());
            }
        }
    }
}

/// Walks over pairs as Go's logfmt decoder does, and stops at the first mistake.
struct Pairs<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Pairs<'t> {
    /// `unquoted` is scratch for values with escapes.
    fn next_pair<'u>(&mut self, unquoted: &'u mut String) -> Option<(&'t str, &'u str)>
    where
        't: 'u,
    {
        let bytes = self.text.as_bytes();
        self.at += bytes[self.at..].iter().position(|b| *b > b' ')?;
        let start = self.at;
        let end = self.end(start);
        let key = &self.text[start..end];
        self.at = end;
        match bytes.get(end) {
            Some(b'"') => return self.stop(),
            Some(b'=') if key.is_empty() => return self.stop(),
            Some(b'=') => {}
            _ => return Some((key, "")),
        }
        let start = end + 1;
        if bytes.get(start) == Some(&b'"') {
            return self.quoted(key, start, unquoted);
        }
        let end = self.end(start);
        if matches!(bytes.get(end), Some(b'=' | b'"')) {
            return self.stop();
        }
        self.at = end;
        Some((key, &self.text[start..end]))
    }

    fn quoted<'u>(&mut self, key: &'t str, start: usize, unquoted: &'u mut String) -> Option<(&'t str, &'u str)>
    where
        't: 'u,
    {
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        let mut is_escaped = false;
        loop {
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => {
                    is_escaped = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.at = at + 1;
        if !is_escaped {
            return Some((key, &self.text[start + 1..at]));
        }
        // Go's decoder unquotes as JSON does.
        match serde_json::from_str::<String>(&self.text[start..=at]) {
            Ok(text) => {
                *unquoted = text;
                Some((key, unquoted))
            }
            Err(_) => self.stop(),
        }
    }

    fn end(&self, start: usize) -> usize {
        let rest = &self.text.as_bytes()[start..];
        start + rest.iter().position(|b| *b <= b' ' || *b == b'=' || *b == b'"').unwrap_or(rest.len())
    }

    fn stop<T>(&mut self) -> Option<T> {
        self.at = self.text.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::check;

    #[test]
    fn extracts_pairs() {
        let run = |mapping: &str, line: &str, want: &str| {
            check(
                &format!("- logfmt: {{mapping: {mapping}}}\n- labels: {{a: , b: }}"),
                &[line],
                &[&format!("{want} 0 {line}")],
            );
        };
        run("{a: , b: }", "a=1 b=\"x y\" c", r#"{a="1", b="x y"}"#);
        run("{a: k, b: k}", "k=v", r#"{a="v", b="v"}"#);
        run("{a: }", r#"a="q\"\n""#, r#"{a="q\"\n"}"#);
        run("{a: , b: }", "a b=2", r#"{b="2"}"#);
        run("{a: , b: }", "a=1 =x b=2", r#"{a="1"}"#);
        run("{a: , b: }", "a=1 b=\"open", r#"{a="1"}"#);
        run("{a: }", "a=1 a=2", r#"{a="2"}"#);
        run("{a: }", "", "{}");
        check(
            "- json: {expressions: {in: }}\n- logfmt: {mapping: {a: }, source: in}\n- labels: {a: }",
            &[r#"{"in":"a=1"}"#],
            &[r#"{a="1"} 0 {"in":"a=1"}"#],
        );
    }
}
