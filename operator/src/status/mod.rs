//! Facts -> conditions. Pure: the same facts give the same bytes, so an idle operator writes nothing.
//!
//! No timestamps but those of transitions, no counts of bytes, no lists of pods: nothing that changes while nothing
//! changes.

mod condition;
mod flap;
mod scrape;
mod stack;

pub use condition::{Said, Truth, get, set_conditions};
pub use flap::Flips;
pub use scrape::{ScrapeFacts, summarize_scrape};
pub use stack::{CollectorFacts, EngineFacts, GrafanaFacts, Pressure, StackFacts, StorageFacts, summarize_stack};
