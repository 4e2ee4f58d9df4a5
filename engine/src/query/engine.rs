//! The door to queries: parse, admit, evaluate, explain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logstack_config::Limits;
use logstack_config::engine::QueryConfig;
use logstack_logql::ast::Expr;

use super::admission::{self, Asked};
use super::evaluation::Evaluation;
use super::metric::binary::Value;
use super::metric::evaluate::evaluate;
use super::metric::grid::Grid;
use super::metric::seams;
use super::metric::series::Matrix;
use super::request::{Answer, Data, Direction, InstantQuery, RangeQuery};
use super::source::Sources;
use super::turns::Turns;
use super::{Control, Error, Pool, SharedMemory, explain, log};
use crate::model::TenantId;
use crate::storage::Store;

/// Answers queries over a store. Its methods block: call them from [`Engine::enter`].
pub struct Engine {
    store: Arc<Store>,
    pool: Arc<Pool>,
    memory: Arc<SharedMemory>,
    memory_budget: u64,
    turns: Arc<Turns>,
    turn_count: usize,
}

/// Queries in line per query that may run. Enough for a dashboard with many panels on a small node.
const LINE_PER_TURN: usize = 256;
/// Queries in line of one tenant where nobody says a number; Loki's.
const OUTSTANDING_DEFAULT: usize = 2048;
/// Of the machine's memory where the configuration says nothing.
const MEMORY_BUDGET_DEFAULT: u64 = 256 << 20;

/// Who asks, and within what.
#[derive(Clone)]
pub struct Caller {
    /// At least one.
    pub tenants: Vec<TenantId>,
    /// Of the tenant, or the strictest of the tenants.
    pub limits: Arc<Limits>,
    /// `X-Query-Tags`.
    pub tags: Arc<BTreeMap<String, String>>,
    /// Unix time, ns.
    pub now_ns: i64,
}

impl Engine {
    /// Starts the workers. `max_concurrent` is `querier.max_concurrent`, used where `config` leaves it open.
    pub fn new(store: Arc<Store>, config: &QueryConfig, max_concurrent: usize) -> Self {
        let pool = Arc::new(Pool::new(config.workers));
        let turns = match config.concurrency {
            0 => max_concurrent.max(1),
            turns => turns,
        };
        let memory_budget = match config.memory_budget.bytes() {
            0 => MEMORY_BUDGET_DEFAULT,
            bytes => bytes,
        };
        let total = match config.total_memory_budget.bytes() {
            0 => u64::MAX,
            bytes => bytes,
        };
        Self {
            store,
            pool,
            memory: SharedMemory::new(total),
            memory_budget,
            turns: Turns::new(turns, OUTSTANDING_DEFAULT, turns * LINE_PER_TURN),
            turn_count: turns,
        }
    }

    /// The same engine, in which so many queries of one tenant may wait: `frontend.max_outstanding_per_tenant`.
    pub fn with_outstanding(mut self, queries_max: usize) -> Self {
        self.turns = Turns::new(self.turn_count, queries_max, self.turn_count * LINE_PER_TURN);
        self
    }

    /// The store behind.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Memory that running queries hold.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.used_bytes()
    }

    /// The leash of a new query. Drop its [`Control::cancel_on_drop`] guard when the client goes.
    pub fn control(&self, limits: &Limits) -> Arc<Control> {
        Control::new(limits.query_timeout.get(), self.memory_budget, self.memory.clone())
    }

    /// Waits for a turn of `tenant`, then runs `work` on a thread that may block. Answers also how long the wait was.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when the line is full; [`Error::TimedOut`] and [`Error::Cancelled`] while waiting.
    pub async fn enter<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        control: Arc<Control>,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, Duration), Error> {
        let arrived = Instant::now();
        let turn = self.turns.take(tenant.as_str()).await?;
        let waited = arrived.elapsed();
        control.check()?;
        let result = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        match result.await {
            Ok(result) => result.map(|value| (value, waited)),
            Err(error) => Err(Error::Internal(format!("the query was aborted: {error}"))),
        }
    }

    /// Everything that `caller` can read now.
    pub fn sources(&self, caller: &Caller) -> Sources {
        Sources::new(&self.store, &caller.tenants)
    }

    /// A query of `caller` at work.
    pub fn evaluation(&self, caller: &Caller, control: Arc<Control>) -> Evaluation {
        Evaluation::new(self.sources(caller), self.pool.clone(), control, caller.limits.clone())
    }

    /// Answers a query over a range.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query_range(&self, caller: &Caller, query: &RangeQuery, control: Arc<Control>) -> Result<Answer, Error> {
        let started = Instant::now();
        let expr = parse(&query.text)?;
        if matches!(expr, Expr::Log(_)) {
            admission::check_entries(query.limit, &caller.limits)?;
        }
        let length_ns = query.end_ns.saturating_sub(query.start_ns);
        admit(caller, &query.text, &expr, length_ns)?;
        let mut query = query.clone();
        let is_visible = clamp(caller, &mut query.start_ns, query.end_ns);
        let mut evaluation = self.evaluation(caller, control);
        evaluation.partial_series = query.partial_series;
        let data = match &expr {
            Expr::Variants(_) => return Err(Error::refused(VARIANTS_DISABLED)),
            Expr::Log(_) if !is_visible => Data::Streams(Vec::new()),
            Expr::Log(log_expr) => Data::Streams(log::run(&evaluation, log_expr, &query)?),
            Expr::Metric(metric) => {
                let grid = Grid::aligned(query.start_ns, query.end_ns, query.step_ns);
                let mut matrix = match is_visible {
                    true => match evaluate(&evaluation, metric, &grid)? {
                        Value::Matrix(matrix) => matrix,
                        Value::Scalar(number) => Matrix::constant(number, grid.len),
                    },
                    false => Matrix::default(),
                };
                if query.direction == Direction::Backward {
                    seams::cut(&mut matrix, &grid, caller.limits.split_queries_by_interval.as_nanos());
                }
                Data::Matrix { grid, matrix }
            }
        };
        let asked = explain::Asked {
            start_ns: query.start_ns,
            end_ns: query.end_ns,
            now_ns: caller.now_ns,
            all_reasons: query.explain,
        };
        Ok(finish(evaluation, &expr, data, asked, started))
    }

    /// Answers a metric query at an instant.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query(&self, caller: &Caller, query: &InstantQuery, control: Arc<Control>) -> Result<Answer, Error> {
        let started = Instant::now();
        let expr = parse(&query.text)?;
        let metric = match &expr {
            Expr::Metric(metric) => metric,
            Expr::Variants(_) => return Err(Error::refused(VARIANTS_DISABLED)),
            Expr::Log(_) => {
                return Err(Error::refused(
                    "log queries are not supported as an instant query type, please change your query to a range query \
                     type",
                ));
            }
        };
        admit(caller, &query.text, &expr, 0)?;
        let mut start_ns = query.time_ns;
        let is_visible = clamp(caller, &mut start_ns, query.time_ns);
        let mut evaluation = self.evaluation(caller, control);
        evaluation.partial_series = query.partial_series;
        let time_ns = query.time_ns;
        let data = match is_visible {
            false => Data::Vector { time_ns, matrix: Matrix::default() },
            true => match evaluate(&evaluation, metric, &Grid::instant(time_ns))? {
                Value::Scalar(value) => Data::Scalar { time_ns, value },
                Value::Matrix(matrix) => Data::Vector { time_ns, matrix },
            },
        };
        let asked =
            explain::Asked { start_ns: time_ns, end_ns: time_ns, now_ns: caller.now_ns, all_reasons: query.explain };
        Ok(finish(evaluation, &expr, data, asked, started))
    }
}

/// As a server with default settings answers (contract logql.md, 11.5).
const VARIANTS_DISABLED: &str = "multi variant queries are disabled for this instance";

/// Parses a query.
///
/// # Errors
/// The parser's text.
pub fn parse(text: &str) -> Result<Expr, Error> {
    logstack_logql::parse(text).map_err(|error| Error::refused(error.to_string()))
}

fn admit(caller: &Caller, text: &str, expr: &Expr, length_ns: i64) -> Result<(), Error> {
    admission::admit(&Asked { text, expr, length_ns, tags: &caller.tags }, &caller.limits)
}

/// Moves `start_ns` to the earliest instant that the tenant may see; false when all of the range lies before it.
fn clamp(caller: &Caller, start_ns: &mut i64, end_ns: i64) -> bool {
    let Some(earliest) = admission::lookback_start_ns(caller.now_ns, &caller.limits) else { return true };
    *start_ns = (*start_ns).max(earliest);
    end_ns >= earliest
}

fn finish(evaluation: Evaluation, expr: &Expr, data: Data, asked: explain::Asked, started: Instant) -> Answer {
    let entries_returned = match &data {
        Data::Streams(streams) => streams.iter().map(|stream| stream.entries.len()).sum(),
        Data::Matrix { matrix, .. } | Data::Vector { matrix, .. } => matrix.series.len(),
        Data::Scalar { .. } => 1,
    };
    if entries_returned == 0 {
        explain::empty_answer(&evaluation, expr, asked);
    }
    let mut stats = evaluation.stats();
    stats.entries_returned = entries_returned as u64;
    stats.exec_time = started.elapsed();
    Answer { data, stats, warnings: evaluation.into_warnings() }
}
