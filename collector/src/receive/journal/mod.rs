//! `journal`: the systemd journal, through `journalctl`, which always understands the host's format. It is started again
//! behind the last entry whenever it ends: on rotation, vacuum or damage nothing stops for good.

pub mod export;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logstack_config::collector::JournalConfig;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cursors::Cursors;
use super::intake::{Incoming, Intake};
use super::{ReceiveMetrics, SourceError, label_map};
use crate::discovery::relabel::LabelMap;
use export::Entry;

/// Pause before the program is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
const PRIORITIES: [&str; 8] = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];

/// A journal that is read.
pub struct Journal {
    /// As configured.
    pub config: JournalConfig,
    /// The program that reads it.
    pub program: String,
    /// Of the job.
    pub job: String,
    /// Where entries go.
    pub intake: Intake,
    /// Where the place is kept.
    pub cursors: Arc<Cursors>,
    /// Counters.
    pub metrics: Arc<ReceiveMetrics>,
}

/// Checks what can be checked without reading.
///
/// # Errors
/// A `matches` that cannot be used.
pub fn check(config: &JournalConfig) -> Result<(), SourceError> {
    for word in config.matches.split_whitespace() {
        if word == "+" {
            return Err(SourceError::new(
                "journal.matches",
                "+ is not understood: terms of one field are alternatives",
            ));
        }
        if word.split_once('=').is_none_or(|(field, _)| field.is_empty()) {
            return Err(SourceError::new("journal.matches", format!("{word:?} is not FIELD=value")));
        }
    }
    Ok(())
}

impl Journal {
    /// Reads until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let key = format!("cursor-{}", self.job);
        let mut last = tokio::select! {
            cursor = self.cursors.begin(&key) => cursor,
            () = stop.cancelled() => return,
        };
        loop {
            let from = begin(last.as_deref(), self.config.max_age.get(), now_us());
            match self.spawn(&from) {
                Ok(child) => {
                    info!(job = self.job, from, "reading the journal");
                    tokio::select! {
                        outcome = self.read(child, &key, &mut last) => {
                            warn!(job = self.job, reason = outcome, "journalctl ended, starting it again");
                        }
                        () = stop.cancelled() => return,
                    }
                }
                Err(err) => {
                    warn!(job = self.job, error = %err, program = self.program, "the journal cannot be read: journalctl must be installed, and the process root or in the group systemd-journal")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn spawn(&self, from: &str) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(["--output=export", "--all", "--follow", "--no-tail", "--quiet", "--no-pager", "--utc", from]);
        if let Some(path) = &self.config.path {
            command.arg(format!("--directory={}", path.display()));
        }
        command.args(self.config.matches.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()
    }

    /// Reads what the program prints until it ends; why it ended.
    async fn read(&self, mut child: Child, key: &str, last: &mut Option<String>) -> String {
        let (Some(mut output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
            return "it has no output".to_owned();
        };
        let mut bytes = Vec::new();
        loop {
            match output.read_buf(&mut bytes).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(err) => return err.to_string(),
            }
            let mut at = 0;
            loop {
                match export::parse(&bytes[at..]) {
                    Ok(Some((entry, taken))) => {
                        at += taken;
                        if !self.take(entry, key, last).await {
                            return "the job stops".to_owned();
                        }
                    }
                    Ok(None) => break,
                    Err(err) => {
                        self.metrics.journal_errors.fetch_add(1, Ordering::Relaxed);
                        return err.to_string();
                    }
                }
            }
            bytes.drain(..at);
        }
        let mut text = Vec::new();
        // Why it ended is worth a try.
        let _ = (&mut errors).take(1024).read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// False when the job stops.
    async fn take(&self, entry: Entry, key: &str, last: &mut Option<String>) -> bool {
        let Some(cursor) = entry.text("__CURSOR").map(std::borrow::Cow::into_owned) else { return true };
        let (receipt, place) = self.cursors.read(key, cursor.clone());
        *last = Some(cursor);
        self.metrics.journal_lines.fetch_add(1, Ordering::Relaxed);
        let Some(line) = line(&entry, self.config.json) else {
            self.metrics.journal_errors.fetch_add(1, Ordering::Relaxed);
            receipt.settle();
            return true;
        };
        let timestamp_ns = entry.text("__REALTIME_TIMESTAMP").and_then(|us| us.parse::<i64>().ok()?.checked_mul(1000));
        let labels = Arc::new(labels(&entry, &self.config.labels));
        self.intake
            .put(Incoming { labels, line, timestamp_ns, metadata: Vec::new(), receipt: Some(receipt), place })
            .await
    }
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// The argument that says where to begin: behind a young enough cursor, else `max_age` ago.
fn begin(cursor: Option<&str>, max_age: Duration, now_us: i64) -> String {
    let oldest_us = now_us.saturating_sub(i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX)).max(0);
    // s=…;i=…;b=…;m=…;t=REALTIME IN HEX;x=…
    let time = |cursor: &str| {
        let hex = cursor.split(';').find_map(|part| part.strip_prefix("t="))?;
        i64::from_str_radix(hex, 16).ok()
    };
    match cursor.filter(|cursor| time(cursor).is_none_or(|at| at >= oldest_us)) {
        Some(cursor) => format!("--after-cursor={cursor}"),
        None => format!("--since=@{}.{:06}", oldest_us / 1_000_000, oldest_us % 1_000_000),
    }
}

/// `None` without a message.
fn line(entry: &Entry, as_json: bool) -> Option<Vec<u8>> {
    let message = entry.get("MESSAGE")?;
    if !as_json {
        return Some(message.to_vec());
    }
    let fields = public_fields(entry);
    let fields: BTreeMap<&str, std::borrow::Cow<'_, str>> =
        fields.map(|(name, value)| (name, String::from_utf8_lossy(value))).collect();
    serde_json::to_vec(&fields).ok()
}

fn labels(entry: &Entry, configured: &BTreeMap<String, String>) -> LabelMap {
    let mut labels = label_map(configured);
    for (name, value) in public_fields(entry) {
        let value = String::from_utf8_lossy(value);
        if name == "PRIORITY" {
            let keyword = value.parse::<usize>().ok().and_then(|priority| PRIORITIES.get(priority));
            let keyword = keyword.map(|keyword| ("__journal_priority_keyword".to_owned(), (*keyword).to_owned()));
            labels.extend(keyword);
        }
        // Long values are messages, not labels.
        if name != "MESSAGE" {
            labels.insert(format!("__journal_{}", name.to_ascii_lowercase()), value.into_owned());
        } else {
            labels.insert("__journal_message".to_owned(), value.into_owned());
        }
    }
    labels
}

/// Without what the journal says about itself.
fn public_fields(entry: &Entry) -> impl Iterator<Item = (&str, &[u8])> {
    let fields = entry.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    fields.filter(|(name, _)| !name.starts_with("__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> Entry {
        Entry { fields: fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect() }
    }

    #[test]
    fn makes_lines_and_labels() {
        let entry = entry(&[
            ("__CURSOR", "c"),
            ("MESSAGE", "started"),
            ("PRIORITY", "3"),
            ("_SYSTEMD_UNIT", "kubelet.service"),
        ]);
        assert_eq!(line(&entry, false).unwrap(), b"started");
        let json = String::from_utf8(line(&entry, true).unwrap()).unwrap();
        assert_eq!(json, r#"{"MESSAGE":"started","PRIORITY":"3","_SYSTEMD_UNIT":"kubelet.service"}"#);
        let labels = labels(&entry, &BTreeMap::from([("job".to_owned(), "journal".to_owned())]));
        let want = [
            ("__journal__systemd_unit", "kubelet.service"),
            ("__journal_message", "started"),
            ("__journal_priority", "3"),
            ("__journal_priority_keyword", "error"),
            ("job", "journal"),
        ];
        assert_eq!(labels, want.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
        assert_eq!(line(&Entry::default(), false), None);
    }

    /// A program in the place of journalctl: prints entries and ends, and says how it was called.
    fn program(folder: &std::path::Path) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("journalctl");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}/calls\nprintf '__CURSOR=c1\\n__REALTIME_TIMESTAMP=1500000\\nMESSAGE=one\\nPRIORITY=6\\n\\n__CURSOR=c2\\n_HOSTNAME=h\\n\\n__CURSOR=c3\\n__REALTIME_TIMESTAMP=1600000\\nMESSAGE=two\\nPRIORITY=3\\n\\n'\n",
            folder.display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reads_on_behind_the_last_entry() {
        use crate::discovery::relabel::{Action, Rule, compile_regex};
        use crate::pipeline::{Counters, Pipeline};
        use crate::ship::{Budget, Clients, Limits};
        let folder = tempfile::tempdir().unwrap();
        let rule = Rule {
            source_labels: vec!["__journal_priority_keyword".to_owned()],
            separator: ";".to_owned(),
            regex: compile_regex("(.*)").unwrap(),
            target_label: "level".to_owned(),
            replacement: "$1".to_owned(),
            action: Action::Replace,
        };
        let (runtime, stop) = (tokio::runtime::Handle::current(), CancellationToken::new());
        let clients = Clients::new(Vec::new(), Limits::default(), Budget::new(1 << 20), runtime, stop.clone());
        let (printer, mut printed) = tokio::sync::mpsc::channel(100);
        let worker = super::super::intake::Worker {
            pipeline: Pipeline::compile(&[], &Counters::default()).unwrap(),
            rules: Arc::new(vec![rule]),
            shipper: clients.printer(printer),
            counters: Counters::default(),
        };
        let (intake, _thread) = worker.start("test").unwrap();
        let (cursors, metrics) = (Arc::new(Cursors::default()), Arc::new(ReceiveMetrics::default()));
        cursors.load([("cursor-test".to_owned(), "c0".to_owned())]);
        let journal = Journal {
            config: JournalConfig { matches: "_TRANSPORT=kernel".to_owned(), ..JournalConfig::default() },
            program: program(folder.path()),
            job: "test".to_owned(),
            intake,
            cursors: cursors.clone(),
            metrics: metrics.clone(),
        };
        let running = tokio::spawn(journal.run(stop.clone()));
        let one = printed.recv().await.unwrap();
        assert_eq!(one, "1970-01-01T00:00:01.5Z\t{level=\"info\"}\tone\n");
        assert_eq!(printed.recv().await.unwrap(), "1970-01-01T00:00:01.6Z\t{level=\"error\"}\ttwo\n");
        // It ended, and is started again.
        assert_eq!(printed.recv().await.unwrap(), one);
        stop.cancel();
        running.await.unwrap();
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        let calls: Vec<&str> = calls.lines().collect();
        assert!(calls[0].ends_with("--after-cursor=c0 _TRANSPORT=kernel"), "{calls:?}");
        assert!(calls[1].ends_with("--after-cursor=c3 _TRANSPORT=kernel"), "{calls:?}");
        assert_ne!(cursors.acknowledged()["cursor-test"], "c0", "what was printed need not be read again");
        assert!(metrics.journal_errors.load(Ordering::Relaxed) >= 1, "an entry without a message is counted");
    }

    #[test]
    fn begins_behind_a_young_cursor() {
        #[track_caller]
        fn check(cursor: Option<&str>, want: &str) {
            assert_eq!(begin(cursor, Duration::from_secs(10), 20_000_000), want);
        }
        check(None, "--since=@10.000000");
        check(Some("s=1;t=b71b00;x=2"), "--after-cursor=s=1;t=b71b00;x=2");
        check(Some("s=1;t=1;x=2"), "--since=@10.000000");
        check(Some("opaque"), "--after-cursor=opaque");
    }

    #[test]
    fn checks_matches() {
        let with = |matches: &str| check(&JournalConfig { matches: matches.to_owned(), ..JournalConfig::default() });
        assert!(with("_SYSTEMD_UNIT=a.service _SYSTEMD_UNIT=b.service X=a=b").is_ok());
        assert!(with("A=1 + B=2").is_err() && with("nonsense").is_err());
    }
}
