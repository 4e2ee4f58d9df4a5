//! `luhn`: hides numbers that pass the check of payment cards.
//!
//! Source: Grafana Alloy, `stage.luhn`; ISO/IEC 7812-1, annex B.

use std::sync::Arc;

use logstack_config::collector::stage::LuhnStage;

use super::input;
use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Luhn {
    replacement: String,
    source: Option<Arc<str>>,
    digits_min: usize,
}

impl Luhn {
    /// Of its settings.
    pub fn new(config: &LuhnStage) -> Self {
        let source = config.source.as_deref().map(Arc::from);
        Self { replacement: config.replacement.clone(), source, digits_min: config.min_length.max(1) }
    }

    /// Runs the stage.
    pub fn run(&self, entry: &mut Entry) {
        let Some(text) = input(entry, self.source.as_deref()) else { return };
        let Some(hidden) = self.hide(&text) else { return };
        match &self.source {
            None => entry.line = hidden.into_bytes(),
            Some(source) => entry.extracted.set_bytes(source, hidden.as_bytes()),
        }
    }

    fn hide(&self, text: &str) -> Option<String> {
        let mut out: Option<String> = None;
        let mut copied = 0;
        let mut rest = 0;
        while let Some(start) = text[rest..].find(|c: char| c.is_ascii_digit()).map(|at| rest + at) {
            let end = text[start..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |len| start + len);
            if end - start >= self.digits_min && is_luhn(&text.as_bytes()[start..end]) {
                let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
                out.push_str(&text[copied..start]);
                out.push_str(&self.replacement);
                copied = end;
            }
            rest = end;
        }
        let mut out = out?;
        out.push_str(&text[copied..]);
        Some(out)
    }
}

fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(idx, digit)| {
            let value = u32::from(digit - b'0') << (idx % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::check;

    #[test]
    fn hides_card_numbers() {
        check("- luhn: {}", &["card 4539578763621486 ok"], &["{} 0 card **REDACTED** ok"]);
        check("- luhn: {}", &["card 4539578763621487"], &["{} 0 card 4539578763621487"]);
        check("- luhn: {replacement: X, min_length: 2}", &["18 19 4539578763621486"], &["{} 0 X 19 X"]);
    }
}
