//! `multiline`: joins the lines of a block, such as a stack trace.
//!
//! A block begins with a line that matches, and ends with the next such line, with a pause, or when it is long enough.
//! It has time, labels and extracted values of its first line. Lines before the first block pass alone. Blocks are kept
//! by source and label set, so that files never mix.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use logstack_config::collector::stage::MultilineStage;
use logstack_go::re2;

use super::Flow;
use crate::pipeline::compile::Error;
use crate::pipeline::entry::{Entry, SourceId};
use crate::pipeline::{Context, Flush, Next};

/// A source without lines is forgotten after this; its next lines pass alone until a block begins.
const FORGET: Duration = Duration::from_secs(3600);
/// A block is emitted at this size, whatever `max_lines` says.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// The stage.
#[derive(Debug)]
pub struct Multiline {
    first_line: regex::bytes::Regex,
    wait: Duration,
    lines_max: u64,
    blocks: HashMap<(SourceId, u64), Block>,
}

/// A block, or what is left of one that was emitted: its first line's metadata for the lines that follow.
#[derive(Debug)]
struct Block {
    entry: Entry,
    lines: u64,
    last: Instant,
}

impl Multiline {
    /// Compiles the pattern.
    pub fn new(config: &MultilineStage) -> Result<Self, Error> {
        let first_line = re2::compile(&config.firstline).map_err(|err| Error::new("firstline", err))?;
        Ok(Self {
            first_line,
            wait: config.max_wait_time.get(),
            lines_max: config.max_lines.max(1),
            blocks: HashMap::new(),
        })
    }

    /// Runs the stage.
    pub fn run(&mut self, entry: &mut Entry, cx: &mut Context<'_>, next: &mut Next<'_>) -> Flow {
        let key = (cx.source, entry.labels.hash());
        let begins = re2::is_match(&self.first_line, &entry.line);
        let block = self.blocks.get_mut(&key);
        match (block, begins) {
            (None, false) => return Flow::Next,
            (None, true) => {
                entry.receipts.hold(cx);
                self.blocks.insert(key, Block { entry: entry.take(), lines: 1, last: cx.now });
            }
            (Some(block), true) => {
                entry.receipts.hold(cx);
                if block.lines > 0 {
                    next(&mut block.entry, cx);
                }
                *block = Block { entry: entry.take(), lines: 1, last: cx.now };
            }
            (Some(block), false) => {
                block.last = cx.now;
                if block.lines == 0 {
                    block.entry.line.clear();
                    block.entry.receipts = std::mem::take(&mut entry.receipts);
                    block.entry.receipts.hold(cx);
                } else {
                    block.entry.line.push(b'\n');
                }
                block.entry.line.extend_from_slice(&entry.line);
                block.lines += 1;
            }
        }
        let Some(block) = self.blocks.get_mut(&key) else { return Flow::Gone };
        if block.lines >= self.lines_max || block.entry.line.len() >= BLOCK_BYTES_MAX {
            emit(block, cx, next);
        }
        Flow::Gone
    }

    /// The source cannot be read: the rest of its blocks may be there already.
    pub fn keep_waiting(&mut self, source: SourceId, now: Instant) {
        let of_source = self.blocks.iter_mut().filter(|(key, block)| key.0 == source && block.lines > 0);
        of_source.for_each(|(_, block)| block.last = now);
    }

    /// Emits blocks whose time has come.
    pub fn flush(&mut self, what: Flush, cx: &mut Context<'_>, next: &mut Next<'_>) {
        let mut due: Vec<_> = self
            .blocks
            .iter()
            .filter(|(key, block)| match what {
                Flush::All => true,
                Flush::Source(source) => key.0 == source,
                Flush::Expired => cx.now.duration_since(block.last) >= self.wait,
            })
            .map(|(key, _)| *key)
            .collect();
        due.sort_unstable();
        for key in due {
            let Some(block) = self.blocks.get_mut(&key) else { continue };
            if block.lines > 0 {
                emit(block, cx, next);
            }
            if what != Flush::Expired || cx.now.duration_since(block.last) >= FORGET {
                self.blocks.remove(&key);
            }
        }
    }
}

/// Emits the block and keeps what lines without a first one need: time, labels, extracted values.
fn emit(block: &mut Block, cx: &mut Context<'_>, next: &mut Next<'_>) {
    let rest = Entry {
        labels: block.entry.labels.clone(),
        timestamp_ns: block.entry.timestamp_ns,
        metadata: block.entry.metadata.clone(),
        extracted: block.entry.extracted.clone(),
        ..Entry::default()
    };
    next(&mut block.entry, cx);
    block.entry = rest;
    block.lines = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{Scene, check};

    const STAGE: &str = "- multiline: {firstline: '^\\[', max_wait_time: 3s, max_lines: 3}";

    #[test]
    fn joins_blocks() {
        check(STAGE, &["before", "[1", "a", "[2", "[3"], &["{} 0 before", "{} 0 [1\na", "{} 0 [2"]);
        check(STAGE, &["[1", "a", "b", "c", "[2"], &["{} 0 [1\na\nb", "{} 0 c"]);
    }

    #[test]
    fn emits_after_a_pause_and_at_the_end() {
        let mut scene = Scene::new(STAGE);
        scene.run("[1");
        scene.pass(2);
        scene.run("a");
        scene.pass(2);
        assert_eq!(scene.out, [""; 0]);
        scene.pass(1);
        assert_eq!(scene.out, ["{} 0 [1\na"]);
        scene.run("[2");
        scene.pass_blocked(7200);
        scene.run("b");
        scene.pass(3);
        assert_eq!(scene.out.pop().as_deref(), Some("{} 0 [2\nb"));
        scene.run("late");
        scene.flush(Flush::All);
        assert_eq!(scene.out[1..], ["{} 0 late"]);
    }

    #[test]
    fn keeps_label_sets_apart() {
        check(
            "- cri: {}\n- multiline: {firstline: '^\\['}",
            &[
                "1970-01-01T00:00:01Z stdout F [1",
                "1970-01-01T00:00:02Z stderr F [e",
                "1970-01-01T00:00:03Z stdout F a",
                "1970-01-01T00:00:04Z stdout F [2",
            ],
            &["{stream=\"stdout\"} 1000000000 [1\na"],
        );
    }

    #[test]
    fn holds_the_position_at_the_blocks_first_line() {
        let mut scene = Scene::new(STAGE);
        scene.run("[1"); // each line of a scene begins where the one before ended
        scene.run("a");
        assert_eq!(scene.progress.acknowledged(), 0);
        scene.run("[2");
        assert_eq!(scene.progress.acknowledged(), 5, "[1 and a are sent, [2 is held");
    }
}
