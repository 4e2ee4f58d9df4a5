//! `output`: an extracted value becomes the line.

use logstack_config::collector::stage::OutputStage;

use crate::pipeline::entry::Entry;

/// The stage.
#[derive(Debug)]
pub struct Output(String);

impl Output {
    /// Of the value's name.
    pub fn new(config: &OutputStage) -> Self {
        Self(config.source.clone())
    }

    /// Runs the stage. Without the value the line stays.
    pub fn run(&self, entry: &mut Entry) {
        let mut line = std::mem::take(&mut entry.line);
        if let Some(text) = entry.string(&self.0) {
            line.clear();
            line.extend_from_slice(text.as_bytes());
        }
        entry.line = line;
    }
}
