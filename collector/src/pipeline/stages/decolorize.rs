//! `decolorize`: removes terminal colour codes.

use logstack_logql::decolorize;

use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Decolorize;

impl Decolorize {
    /// Runs the stage.
    pub fn run(&self, entry: &mut Entry) {
        let mut out = Vec::new();
        if decolorize(&entry.line, &mut out) {
            entry.line = out;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::check;

    #[test]
    fn removes_codes() {
        check("- decolorize:", &["\u{1b}[31mred\u{1b}[0m plain"], &["{} 0 red plain"]);
        check("- decolorize: {}", &["plain"], &["{} 0 plain"]);
        check("- decolorize: {}", &["\u{1b}[1;31mbold\u{1b}[m"], &["{} 0 bold"]);
    }
}
