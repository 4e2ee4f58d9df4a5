//! Names of senders (`__syslog_connection_hostname`): asked of the resolver beside the messages, and remembered.
//!
//! A connection waits a moment for its sender's name before its first message. Datagrams do not wait: the first ones of
//! a sender go without.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// How long an answer counts, also that there is none.
const KEPT: Duration = Duration::from_secs(300);
/// How long a connection waits for its sender's name.
const PATIENCE: Duration = Duration::from_millis(500);
/// Senders that are remembered; of more, names are not asked until some are old.
const SENDERS_MAX: usize = 10_000;
/// Questions that may wait for an answer at a time.
const ASKING_MAX: usize = 16;

/// Asks for the name of an address; may block.
type Resolver = fn(IpAddr) -> Option<String>;

/// Names by address.
#[derive(Debug, Clone)]
pub struct Names {
    resolver: Resolver,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<IpAddr, (Option<Arc<str>>, Instant)>,
    asking: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self::new(ask)
    }
}

impl Names {
    fn new(resolver: Resolver) -> Self {
        Self { resolver, state: Arc::default() }
    }

    /// What is known now; asks when nothing is, or it is old.
    pub fn get(&self, address: IpAddr) -> Option<Arc<str>> {
        self.look(address).0
    }

    /// Waits a moment for the answer.
    pub async fn resolve(&self, address: IpAddr) {
        if let (_, Some(asking)) = self.look(address) {
            let _ = tokio::time::timeout(PATIENCE, asking).await;
        }
    }

    fn look(&self, address: IpAddr) -> (Option<Arc<str>>, Option<JoinHandle<()>>) {
        let mut state = self.state.lock();
        let now = Instant::now();
        let known = match state.known.get(&address) {
            Some((name, at)) if now.duration_since(*at) < KEPT => return (name.clone(), None),
            Some((name, _)) => name.clone(),
            None => None,
        };
        if state.known.len() >= SENDERS_MAX {
            state.known.retain(|_, (_, at)| now.duration_since(*at) < KEPT);
        }
        if state.asking >= ASKING_MAX || state.known.len() >= SENDERS_MAX {
            return (known, None);
        }
        state.asking += 1;
        // Who comes meanwhile does not ask again.
        state.known.insert(address, (known.clone(), now));
        let this = self.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let name = (this.resolver)(address).map(Arc::from);
            let mut state = this.state.lock();
            state.asking -= 1;
            state.known.insert(address, (name, Instant::now()));
        });
        (known, Some(asking))
    }
}

fn ask(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    // Without a name the address itself comes back.
    let name = name.trim_end_matches('.');
    (!name.is_empty() && name.parse::<IpAddr>().is_err()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_remembered() {
        let names = Names::new(|address| (address == IpAddr::from([127, 0, 0, 1])).then(|| "here".to_owned()));
        let (known, unknown) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(names.get(known), None, "nobody waits for datagrams");
        for _ in 0..100 {
            names.resolve(unknown).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if names.get(known).is_some() {
                break;
            }
        }
        assert_eq!((names.get(known).as_deref(), names.get(unknown)), (Some("here"), None));
        assert_eq!(names.state.lock().asking, 0);
    }

    #[tokio::test]
    async fn the_real_resolver_is_asked() {
        // What it says depends on the machine; that it gives no address for a name does not.
        let name = ask(IpAddr::from([127, 0, 0, 1]));
        assert!(name.is_none_or(|name| name.parse::<IpAddr>().is_err()));
    }
}
