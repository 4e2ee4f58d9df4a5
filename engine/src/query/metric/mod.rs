//! Metric queries: from the samples of windows to series over a grid of steps.
//!
//! ```text
//! grid       the steps                    windows    what each step looks back on, cut into panes
//! column     one series over the steps    sliding    panes of a series -> a value per step, in one pass
//! series     labels and their columns     summary, quantile   the functions over time
//! aggregate, matching, binary, label_replace          what expressions do with series
//! seams      points that Loki's cuts lose
//! range      one pass over the rows of a selector     evaluate   expressions, from the leaves up
//! ```

pub mod aggregate;
pub mod binary;
pub mod column;
pub mod evaluate;
pub mod grid;
pub mod label_replace;
pub mod matching;
pub mod quantile;
pub mod range;
pub mod seams;
pub mod series;
pub mod sliding;
pub mod summary;
pub mod windows;
