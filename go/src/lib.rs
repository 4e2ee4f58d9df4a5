//! Go's dialect, as far as users of Loki and Promtail write it: `text/template`, the layouts of `time`, RE2 expressions,
//! `strconv` numbers and quoting, durations and sizes. Knows nothing of logs, configuration or HTTP.
#![warn(unreachable_pub)]

pub mod gotime;
pub mod quote;
pub mod re2;
pub mod template;
pub mod units;
