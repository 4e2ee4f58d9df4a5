//! Live tails: lines as they come, to whoever watches.
//!
//! ```text
//! Store, after an append -> queue (bounded) -> thread "tails": which tails want which lines -> outbox (bounded) -> socket
//! ```
//!
//! Nothing waits for a slow reader. Where a queue or an outbox is full, lines are dropped and counted, and the tail is
//! told how many. A tail that nobody's line matches costs its outbox and a ping a second: which tails want a stream is
//! found out once per stream.
//!
//! | file | what |
//! |---|---|
//! | [`outbox`] | what waits to be sent to one tail |
//! | [`dispatch`] | the thread's work: a batch to outboxes |
//! | [`hub`] | the thread, its queue, who may tail |

pub mod dispatch;
pub mod hub;
pub mod outbox;

pub use hub::{Tail, TailQuery, Tails};
pub use outbox::{Outbox, TailEntry, Taken};
