//! Whose query is next: so many run at once, the others wait, and tenants take turns.
//!
//! A tenant with a thousand queries in line delays another's first one by one query, not by a thousand.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Error;

/// Gives turns to queries.
pub struct Turns {
    state: Mutex<State>,
    /// Queries of one tenant that may wait.
    waiting_max: usize,
    /// Queries of all tenants that may wait.
    all_waiting_max: usize,
}

#[derive(Default)]
struct State {
    free: usize,
    waiting_count: usize,
    /// Tenants with waiting queries, the next one in front.
    order: VecDeque<Box<str>>,
    waiting: HashMap<Box<str>, VecDeque<oneshot::Sender<Turn>>>,
}

/// A query may run as long as it holds this.
pub struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// `count` turns at a time.
    pub fn new(count: usize, waiting_max: usize, all_waiting_max: usize) -> Arc<Self> {
        let state = Mutex::new(State { free: count, ..State::default() });
        Arc::new(Self { state, waiting_max, all_waiting_max })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when too many wait.
    pub async fn take(self: &Arc<Self>, tenant: &str) -> Result<Turn, Error> {
        let turn = {
            let mut state = self.state.lock();
            if state.free > 0 {
                // While turns are free nobody waits.
                state.free -= 1;
                return Ok(Turn(Some(self.clone())));
            }
            state.forget_gone(tenant);
            let own = state.waiting.get(tenant).map_or(0, VecDeque::len);
            if own >= self.waiting_max || state.waiting_count >= self.all_waiting_max {
                return Err(Error::TooManyRequests);
            }
            let (sender, turn) = oneshot::channel();
            if own == 0 {
                state.order.push_back(tenant.into());
            }
            state.waiting.entry(tenant.into()).or_default().push_back(sender);
            state.waiting_count += 1;
            turn
        };
        turn.await.map_err(|_| Error::Cancelled)
    }
}

impl State {
    /// Removes the queries of a tenant whose clients went while they waited.
    fn forget_gone(&mut self, tenant: &str) {
        let Some(own) = self.waiting.get_mut(tenant) else { return };
        let before = own.len();
        own.retain(|sender| !sender.is_closed());
        self.waiting_count -= before - own.len();
        if own.is_empty() {
            self.waiting.remove(tenant);
            self.order.retain(|other| **other != *tenant);
        }
    }

    /// The query that has waited longest of the tenant whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let tenant = self.order.pop_front()?;
            let own = self.waiting.get_mut(&tenant)?;
            let mut next = None;
            while let Some(sender) = own.pop_front() {
                self.waiting_count -= 1;
                if !sender.is_closed() {
                    next = Some(sender);
                    break;
                }
            }
            if own.is_empty() {
                self.waiting.remove(&tenant);
            } else {
                self.order.push_back(tenant);
            }
            if next.is_some() {
                return next;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = turns.state.lock();
                match state.next() {
                    Some(next) => next,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match next.send(Self(Some(turns.clone()))) {
                Ok(()) => return,
                // Gone in this very moment: the turn is still ours. Taken out, so that its own drop does nothing.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tenants_take_turns() {
        let turns = Turns::new(1, 10, 100);
        let first = turns.take("a").await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for (idx, tenant) in ["a", "a", "a", "b", "b", "c"].into_iter().enumerate() {
            let (turns, order) = (turns.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let _turn = turns.take(tenant).await.unwrap();
                order.lock().push((tenant, idx));
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), [("a", 0), ("b", 3), ("c", 5), ("a", 1), ("b", 4), ("a", 2)]);
        assert_eq!(turns.state.lock().free, 1);
    }

    #[tokio::test]
    async fn lines_have_an_end_and_the_gone_leave_them() {
        let turns = Turns::new(1, 2, 3);
        let turn = turns.take("a").await.unwrap();
        let wait = |tenant: &'static str| {
            let turns = turns.clone();
            tokio::spawn(async move { turns.take(tenant).await.is_ok() })
        };
        let (one, two) = (wait("a"), wait("a"));
        tokio::task::yield_now().await;
        assert!(matches!(turns.take("a").await, Err(Error::TooManyRequests)));
        let three = wait("b");
        tokio::task::yield_now().await;
        assert!(matches!(turns.take("c").await, Err(Error::TooManyRequests)), "the line of all");
        one.abort();
        two.abort();
        assert!(one.await.is_err() && two.await.is_err());
        let four = wait("a");
        tokio::task::yield_now().await;
        drop(turn);
        assert!(three.await.unwrap() && four.await.unwrap());
        let state = turns.state.lock();
        assert_eq!((state.free, state.waiting_count, state.order.len(), state.waiting.len()), (1, 0, 0, 0));
    }
}
