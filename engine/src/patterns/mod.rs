//! Patterns: what the lines of a stream have in common, and how often they come.
//!
//! ```text
//! Store, after an append -> queue (bounded) -> thread "patterns": tokens -> template -> counts by day and 10 s
//! /loki/api/v1/patterns  <- templates and counts in memory, and the files of older days
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`tokens`] | a line to words and separators |
//! | [`template`] | words, some of them placeholders |
//! | [`stream`] | the templates of one stream; which of them a line belongs to |
//! | [`counts`] | how many lines, by day and 10 s |
//! | [`day_file`] | a day on disk |
//! | [`miner`] | all streams, within bounds |
//! | [`collect`] | the answer to a question |
//! | [`service`] | the thread, its queue, and how much time it may take |
//!
//! The method is that of He, Zhu, Zheng, Lyu, "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017:
//! lines are sorted into groups by what cannot vary, and joined within a group by how many words they share. Here the
//! groups are made by separators and keys (`key=`, `"key":`) and not by length, which fits logfmt and JSON as well.
//!
//! Everything is bounded and nothing waits for it: when lines come faster than the thread may work, it looks at every
//! n-th and counts it n times; when its queue is full, lines are skipped and counted as such.

pub mod collect;
pub mod counts;
pub mod day_file;
pub mod miner;
pub mod service;
pub mod stream;
pub mod template;
pub mod tokens;

pub use collect::{Pattern, PatternQuery};
pub use service::Patterns;
