//! The threads that scan. A fixed number, shared fairly: a task does one slice of work and goes to the end of the line,
//! so a long query does not hold up a short one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tracing::error;

use super::{Control, Error};

/// Something to do in slices.
trait Task: Send {
    /// Does one slice, a scan unit's worth of work. False when nothing is left.
    fn step(&mut self) -> bool;
}

/// See the module's head. Dropping it waits for the slices at work and drops the tasks in line.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    tasks: VecDeque<Box<dyn Task>>,
    is_closed: bool,
}

impl Pool {
    /// Starts `workers` threads; 0: one per processor.
    pub fn new(workers: usize) -> Self {
        let workers = match workers {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            workers => workers,
        };
        let shared = Arc::<Shared>::default();
        let threads = (0..workers)
            .map(|idx| {
                let shared = shared.clone();
                let work = move || shared.work();
                std::thread::Builder::new().name(format!("query-{idx}")).spawn(work).expect("a thread can be started")
            })
            .collect();
        Self { shared, threads }
    }

    /// Number of threads.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Does `jobs`, in order of their index, on several threads, each with a state of its own. Waits, and answers with
    /// the states, one per thread that took part.
    ///
    /// `step` gets one job at a time, and is expected to look at `control` in long ones.
    ///
    /// # Errors
    /// The first error of `step`; the other threads then stop. What `control` says.
    pub fn run<S: Send + 'static>(
        &self,
        jobs: usize,
        control: &Arc<Control>,
        state: impl Fn() -> S,
        step: impl Fn(&mut S, usize) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<Vec<S>, Error> {
        control.check()?;
        let (sender, results) = mpsc::channel();
        let step = Arc::new(step);
        let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tasks = self.workers().min(jobs);
        {
            let mut line = self.shared.line.lock();
            for _ in 0..tasks {
                line.tasks.push_back(Box::new(JobTask {
                    state: Some(state()),
                    step: step.clone(),
                    next: next.clone(),
                    jobs,
                    control: control.clone(),
                    results: sender.clone(),
                }));
            }
        }
        self.shared.changed.notify_all();
        drop(sender);
        let mut states = Vec::with_capacity(tasks);
        let mut failure: Option<Error> = None;
        // Ends when all tasks are gone, finished or not.
        for result in results {
            match result {
                Ok(state) => states.push(state),
                // A stopped worker says `Cancelled`: the reason it was stopped for is the better answer.
                Err(error) => match &failure {
                    None | Some(Error::Cancelled) => failure = Some(error),
                    Some(_) => {}
                },
            }
        }
        match failure {
            Some(error) => Err(error),
            None if states.len() < tasks => Err(Error::Internal("a query worker has stopped".to_owned())),
            None => Ok(states),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let mut line = self.shared.line.lock();
            line.is_closed = true;
            line.tasks.clear();
        }
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut line = self.line.lock();
        while !line.is_closed {
            let Some(mut task) = line.tasks.pop_front() else {
                self.changed.wait(&mut line);
                continue;
            };
            drop(line);
            let has_more = match catch_unwind(AssertUnwindSafe(|| task.step())) {
                Ok(has_more) => has_more,
                Err(_) => {
                    error!("a query worker panicked");
                    false
                }
            };
            if has_more {
                line = self.line.lock();
                line.tasks.push_back(task);
            } else {
                // Dropped outside the lock: a state may be large.
                drop(task);
                line = self.line.lock();
            }
        }
    }
}

/// One thread's share of [`Pool::run`].
struct JobTask<S, F> {
    state: Option<S>,
    step: Arc<F>,
    next: Arc<std::sync::atomic::AtomicUsize>,
    jobs: usize,
    control: Arc<Control>,
    results: mpsc::Sender<Result<S, Error>>,
}

impl<S: Send, F: Fn(&mut S, usize) -> Result<(), Error> + Send + Sync> Task for JobTask<S, F> {
    fn step(&mut self) -> bool {
        let job = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(state) = &mut self.state else { return false };
        let result = match job < self.jobs {
            true => match self.control.check().and_then(|()| (self.step)(state, job)) {
                Ok(()) => return true,
                Err(error) => {
                    self.control.stop();
                    Err(error)
                }
            },
            false => Ok(()),
        };
        if let Some(state) = self.state.take() {
            // Nobody listens when the query has already failed.
            let _ = self.results.send(result.map(|()| state));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_every_job_once() {
        let pool = Pool::new(3);
        let states = pool
            .run(100, &Control::unbounded(), Vec::new, |seen: &mut Vec<usize>, job| {
                seen.push(job);
                Ok(())
            })
            .unwrap();
        let mut all: Vec<usize> = states.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert!(pool.run(0, &Control::unbounded(), || (), |_, _| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn reports_the_failure_and_not_its_echo() {
        let pool = Pool::new(2);
        let control = Control::unbounded();
        let result = pool.run(
            1000,
            &control,
            || (),
            |(), job| match job {
                500 => Err(Error::refused("five hundred")),
                _ => Ok(()),
            },
        );
        assert_eq!(result.unwrap_err().to_string(), "five hundred");
    }

    #[test]
    fn survives_a_panic() {
        let pool = Pool::new(1);
        let result = pool.run(1, &Control::unbounded(), || (), |(), _| panic!("as tested"));
        assert!(matches!(result, Err(Error::Internal(_))));
        assert_eq!(pool.run(1, &Control::unbounded(), || (), |(), _| Ok(())).unwrap().len(), 1);
    }
}
