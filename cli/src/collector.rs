//! `logstack collector`: the node agent alone.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use logstack_collector::Collector;
use logstack_collector::discovery::glob::{Folders, PathGlob};
use logstack_collector::http::{Pages, ReloadRequest, Shown};
use logstack_config::collector::{ClientConfig, JobsFile, ScrapeConfig};
use logstack_config::{CollectorConfig, Options, load_with};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::serving;

/// Kept back of the time for stopping, so that positions are written before somebody loses patience.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// How often files with further jobs are looked at.
const JOBS_FILES_PERIOD: Duration = Duration::from_secs(5);

/// Reads the logs of this node and ships them, as Promtail's configuration file says.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  logstack collector --config-file promtail.yaml              Promtail's own configuration file
  logstack collector --config-file promtail.yaml --check      say what is wrong with it
  cat app.log | logstack collector --stdin --dry-run --config-file promtail.yaml

Promtail's flags are understood: -config.file=..., -config.expand-env=true, -client.url=..., -dry-run, -stdin,
-check-syntax, -positions.file=..., -server.http-listen-port=..., -log.level=...")]
pub struct CollectorArgs {
    /// Configuration in the shape of Promtail's; of several, separated by commas, the first that exists.
    #[arg(long, value_name = "FILE")]
    config_file: Option<String>,
    /// Replace `${NAME}` and `${NAME:-default}` in the file by environment variables.
    #[arg(long)]
    expand_env: bool,
    /// Print entries instead of pushing them; positions are read and not written.
    #[arg(long)]
    dry_run: bool,
    /// Read standard input through the first job, then stop.
    #[arg(long)]
    stdin: bool,
    /// Say whether the configuration is usable, and stop.
    #[arg(long)]
    check: bool,
    /// Tell on standard error what each stage does to each entry.
    #[arg(long)]
    inspect: bool,
    /// Print the configuration as it is understood, secrets masked, to standard error.
    #[arg(long)]
    print_config_stderr: bool,
    /// Push URL of one more client.
    #[arg(long, value_name = "URL")]
    client_url: Option<String>,
    /// Sets a key of the client of --client-url.
    #[arg(long, value_name = "KEY=VALUE")]
    client_set: Vec<String>,
    /// Labels for all clients, where the configuration has none of the name: `a=b,c=d`.
    #[arg(long, value_name = "LABELS")]
    client_labels: Option<String>,
    /// Form of own logs: `logfmt` or `json`.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Least severe own log that is printed: debug, info, warn, error.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Sets a key of the configuration, over the file.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Promtail's flags, and the keys of the configuration that they set.
const FLAG_KEYS: [(&str, &str); 22] = [
    ("positions.file", "positions.filename"),
    ("positions.sync-period", "positions.sync_period"),
    ("positions.ignore-invalid-yaml", "positions.ignore_invalid_yaml"),
    ("target.sync-period", "target_config.sync_period"),
    ("limit.readline-rate", "limits_config.readline_rate"),
    ("limit.readline-burst", "limits_config.readline_burst"),
    ("limit.readline-rate-enabled", "limits_config.readline_rate_enabled"),
    ("limit.readline-rate-drop", "limits_config.readline_rate_drop"),
    ("max-streams", "limits_config.max_streams"),
    ("max-line-size", "limits_config.max_line_size"),
    ("max-line-size-truncate", "limits_config.max_line_size_truncate"),
    ("file-watch.min_poll_frequency", "global.file_watch_config.min_poll_frequency"),
    ("file-watch.max_poll_frequency", "global.file_watch_config.max_poll_frequency"),
    ("server.http-listen-address", "server.http_listen_address"),
    ("server.http-listen-port", "server.http_listen_port"),
    ("server.path-prefix", "server.http_path_prefix"),
    ("server.disable", "server.disable"),
    ("server.enable-runtime-reload", "server.enable_runtime_reload"),
    ("server.graceful-shutdown-timeout", "server.graceful_shutdown_timeout"),
    ("server.register-instrumentation", "server.register_instrumentation"),
    ("server.profiling_enabled", "server.profiling_enabled"),
    ("limit.readline-burst", "limits_config.readline_burst"),
];

/// Promtail's flags that are ours under another name; `true`: they take a value.
const FLAG_NAMES: [(&str, &str, bool); 11] = [
    ("config.file", "--config-file", true),
    ("config.expand-env", "--expand-env", false),
    ("check-syntax", "--check", false),
    ("dry-run", "--dry-run", false),
    ("stdin", "--stdin", false),
    ("inspect", "--inspect", false),
    ("print-config-stderr", "--print-config-stderr", false),
    ("client.url", "--client-url", true),
    ("client.external-labels", "--client-labels", true),
    ("log.level", "--log-level", true),
    ("log.format", "--log-format", true),
];

/// Promtail's flags of the client of `-client.url`, and their keys.
const CLIENT_FLAGS: [(&str, &str); 8] = [
    ("client.batch-wait", "batchwait"),
    ("client.batch-size-bytes", "batchsize"),
    ("client.max-retries", "backoff_config.max_retries"),
    ("client.min-backoff", "backoff_config.min_period"),
    ("client.max-backoff", "backoff_config.max_period"),
    ("client.timeout", "timeout"),
    ("client.tenant-id", "tenant_id"),
    ("client.drop-rate-limited-batches", "drop_rate_limited_batches"),
];

/// Beginnings of Promtail's flags that mean nothing here: accepted, so that a command line goes on working.
const IGNORED_FLAGS: [&str; 3] = ["server.", "tracing.", "log-config-reverse-order"];

/// Rewrites Go's flag style to ours: `-config.file=x` to `--config-file x`. Only behind the word `collector`.
pub fn rewrite_go_flags(args: impl Iterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut args = args.peekable();
    let mut is_collector = false;
    while let Some(arg) = args.next() {
        if !is_collector {
            is_collector = out.len() == 1 && arg == "collector";
            out.push(arg);
            continue;
        }
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            out.push(arg);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if let Some((_, key)) = FLAG_KEYS.iter().find(|(known, _)| *known == name) {
            let is_next_value = value.is_none() && args.peek().is_some_and(|next| !next.starts_with('-'));
            let value = value.or_else(|| if is_next_value { args.next() } else { None });
            out.extend(["--set".to_owned(), format!("{key}={}", value.as_deref().unwrap_or("true"))]);
            continue;
        }
        if let Some((_, key)) = CLIENT_FLAGS.iter().find(|(known, _)| *known == name) {
            let is_next_value = value.is_none() && args.peek().is_some_and(|next| !next.starts_with('-'));
            let value = value.or_else(|| if is_next_value { args.next() } else { None });
            out.extend(["--client-set".to_owned(), format!("{key}={}", value.as_deref().unwrap_or("true"))]);
            continue;
        }
        if name == "version" {
            return vec![out.swap_remove(0), "--version".to_owned()];
        }
        let is_ours = FLAG_NAMES.iter().any(|(known, ..)| *known == name);
        if !is_ours && IGNORED_FLAGS.iter().any(|ignored| name.starts_with(ignored)) {
            if value.is_none() {
                args.next_if(|next| !next.starts_with('-'));
            }
            continue;
        }
        match FLAG_NAMES.iter().find(|(known, ..)| *known == name) {
            Some((_, ours, true)) => {
                out.push((*ours).to_owned());
                out.extend(value.or_else(|| args.next()));
            }
            // Go's booleans: `-x`, `-x=true`, `-x=false`.
            Some((_, ours, false)) => match value.as_deref() {
                Some("false" | "0" | "f" | "F" | "FALSE" | "False") => {}
                _ => out.push((*ours).to_owned()),
            },
            None => out.push(arg),
        }
    }
    out
}

/// Runs the command until SIGTERM or SIGINT. SIGHUP reads the configuration again.
pub async fn run(args: CollectorArgs) -> Result<()> {
    if let Some(level) = &args.log_level
        && !crate::logging::set_level(level)
    {
        return Err(serving::WrongUsage(format!("--log-level: {level:?} is not a level")).into());
    }
    if args.inspect {
        logstack_collector::pipeline::inspect::switch_on();
    }
    let mut jobs_files = JobsFiles::default();
    let loaded = load(&args, &mut jobs_files);
    if args.check {
        let config = loaded?;
        if let Some((path, reason)) = jobs_files.refused.first() {
            anyhow::bail!("{}: {reason}", path.display());
        }
        logstack_collector::check(&config)?;
        eprintln!("the configuration is usable");
        return Ok(());
    }
    let config = loaded?;
    // Who says it on the command line or in the environment means this run.
    if args.log_level.is_none() && std::env::var_os("LOGSTACK_LOG").is_none() {
        crate::logging::set_level(config.server.log_level.as_str());
    }
    if args.print_config_stderr {
        eprint!("{}", serde_yaml::to_string(&config).context("the configuration cannot be printed")?);
    }
    if args.stdin {
        return run_stdin(&args, &config).await;
    }
    if args.dry_run {
        return dry_run(config).await;
    }
    let stop_budget = config.server.graceful_shutdown_timeout.get().saturating_sub(STOP_MARGIN);
    // Before anything is read: an address in use must not cost a line.
    let listener = listen(&config).await?;
    let mut collector = Collector::start(&config)?;
    info!(jobs = config.scrape_configs.len(), "collector started");
    let (wish, mut wishes) = mpsc::channel(1);
    let reload = config.server.enable_runtime_reload.then_some(wish);
    let pages = Pages::new(Shown::new(collector.view(), &config), reload, &config.server);
    let stop_serving = CancellationToken::new();
    let serving = listener.map(|listener| tokio::spawn(pages.clone().serve(listener, stop_serving.clone())));
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let stop = serving::stop_signal();
    tokio::pin!(stop);
    let mut look = tokio::time::interval(JOBS_FILES_PERIOD);
    loop {
        let answer: Option<ReloadRequest> = tokio::select! {
            signal = &mut stop => {
                info!(signal = signal?, "stopping");
                break;
            }
            _ = hang_up.recv() => None,
            Some(answer) = wishes.recv() => Some(answer),
            _ = look.tick() => {
                if !jobs_files.have_changed() {
                    continue;
                }
                None
            }
        };
        let outcome = load(&args, &mut jobs_files).and_then(|config| {
            collector.reload(&config)?;
            Ok(config)
        });
        match &outcome {
            Ok(config) => {
                pages.reloaded(Some(Shown::new(collector.view(), config)));
                info!("configuration read again");
            }
            Err(err) => {
                pages.reloaded(None);
                error!(error = format!("{err:#}"), "the new configuration is not usable, the old one stays");
            }
        }
        // Who asked may have gone.
        let _ = answer.map(|answer| answer.send(outcome.map(drop).map_err(|err| format!("{err:#}"))));
    }
    collector.stop(stop_budget).await;
    stop_serving.cancel();
    if let Some(serving) = serving {
        // Open connections must not hold up the end.
        serving.abort();
    }
    Ok(())
}

async fn listen(config: &CollectorConfig) -> Result<Option<TcpListener>> {
    let server = &config.server;
    if server.disable {
        return Ok(None);
    }
    let host = match server.http_listen_address.as_str() {
        "" => "0.0.0.0",
        host => host,
    };
    let address = (host, server.http_listen_port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {host}:{} (server.http_listen_port, or server.disable: true)",
            server.http_listen_port
        )
    })?;
    info!(address = %listener.local_addr()?, "listening");
    Ok(Some(listener))
}

/// What a file says of clients, before flags are added to it.
#[derive(Debug, Default, PartialEq)]
struct OwnClients {
    /// It has some.
    are_there: bool,
    /// Its `client` does not say where that is: charts before 3.0 have the URL as an argument.
    lacks_url: bool,
}

impl OwnClients {
    /// A text that is no YAML has none: that it is none is told by whoever loads it.
    fn of(text: &str) -> Self {
        let file: serde_yaml::Value = serde_yaml::from_str(text).unwrap_or_default();
        let (one, many) = (file.get("client"), file.get("clients"));
        Self {
            are_there: one.is_some() || many.is_some(),
            lacks_url: one.is_some_and(|client| client.is_mapping() && client.get("url").is_none()),
        }
    }
}

fn load(args: &CollectorArgs, jobs_files: &mut JobsFiles) -> Result<CollectorConfig> {
    let (text, file) = match &args.config_file {
        Some(paths) => {
            let paths: Vec<PathBuf> = paths.split(',').map(PathBuf::from).collect();
            let path = paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]);
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            (text, path.display().to_string())
        }
        None if args.client_url.is_some() || args.stdin => (String::new(), "defaults".to_owned()),
        None => return Err(serving::WrongUsage("--config-file is needed".to_owned()).into()),
    };
    let lookup = |name: &str| std::env::var(name).ok();
    let mut set = args.set.clone();
    // One more client, without touching those of the file.
    let client = args.client_url.clone().or_else(|| {
        (args.stdin && args.dry_run && args.config_file.is_none())
            .then(|| "http://localhost:3100/loki/api/v1/push".to_owned())
    });
    let own = OwnClients::of(&text);
    if let Some(url) = client.as_ref().filter(|_| !own.are_there) {
        set.push(format!("clients=[{{url: {url:?}}}]"));
    }
    if let Some(url) = client.as_ref().filter(|_| own.lacks_url) {
        set.push(format!("client.url={url}"));
    }
    let options = Options { env: args.expand_env.then_some(&lookup), set: &set };
    let (mut config, warnings) =
        load_with::<CollectorConfig>(&text, &file, &options).map_err(serving::configuration_error)?;
    for warning in &warnings.0 {
        warn!("{warning}");
    }
    if args.check && config.collector.strict && !warnings.0.is_empty() {
        anyhow::bail!("collector.strict: {} warnings", warnings.0.len());
    }
    if let Some(url) = client.filter(|_| own.are_there && !own.lacks_url) {
        config.clients.push(ClientConfig { url, ..ClientConfig::default() });
    }
    if !args.client_set.is_empty() {
        // Of a configuration that has this client alone.
        let set: Vec<String> = args.client_set.iter().map(|assignment| format!("client.{assignment}")).collect();
        let options = Options { env: None, set: &set };
        let (only, _) = load_with::<CollectorConfig>("client: {url: 'http://flag'}", "flags", &options)
            .map_err(serving::configuration_error)?;
        if let (Some(flags), Some(client)) = (only.client, config.clients.last_mut()) {
            *client = ClientConfig { url: std::mem::take(&mut client.url), ..flags };
        }
    }
    if let Some(labels) = &args.client_labels {
        for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(
                    serving::WrongUsage(format!("--client-labels: {pair:?} is not of the form name=value")).into()
                );
            };
            for client in config.client.iter_mut().chain(&mut config.clients) {
                client.external_labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }
    *jobs_files = JobsFiles::read(&config.collector.scrape_config_files, &mut config.scrape_configs)?;
    Ok(config)
}

/// The files of `collector.scrape_config_files`, as they were read.
#[derive(Default)]
struct JobsFiles {
    patterns: Vec<PathGlob>,
    texts: BTreeMap<PathBuf, String>,
    /// One bad file does not keep the jobs of the others out.
    refused: Vec<(PathBuf, String)>,
}

impl JobsFiles {
    /// Appends their jobs by falling priority, then by file name.
    fn read(patterns: &[String], jobs: &mut Vec<ScrapeConfig>) -> Result<Self> {
        let patterns = patterns.iter().map(|pattern| PathGlob::new(pattern)).collect::<Result<Vec<_>, _>>();
        let patterns = patterns.context("collector.scrape_config_files")?;
        let texts = texts(&patterns);
        let mut refused = Vec::new();
        let mut files = Vec::new();
        for (path, text) in &texts {
            match load_with::<JobsFile>(text, &path.display().to_string(), &Options::default()) {
                Ok((file, warnings)) => {
                    warnings.0.iter().for_each(|warning| warn!("{warning}"));
                    files.push((path, file));
                }
                Err(err) => refused.push((path.clone(), err.to_string())),
            }
        }
        files.sort_by_key(|(path, file)| (Reverse(file.priority), (*path).clone()));
        for (path, file) in files {
            let known = |job: &ScrapeConfig| jobs.iter().any(|known| known.job_name == job.job_name);
            match file.scrape_configs.iter().find(|job| known(job)) {
                Some(job) => refused.push((path.clone(), format!("another file has a job {:?}", job.job_name))),
                None => jobs.extend(file.scrape_configs),
            }
        }
        for (path, reason) in &refused {
            error!(path = %path.display(), reason, "jobs file is left out");
        }
        Ok(Self { patterns, texts, refused })
    }

    /// True when reading them again would give something else. They are small and lie in folders that Kubernetes
    /// replaces as a whole, which nothing watches well.
    fn have_changed(&self) -> bool {
        !self.patterns.is_empty() && texts(&self.patterns) != self.texts
    }
}

fn texts(patterns: &[PathGlob]) -> BTreeMap<PathBuf, String> {
    let mut folders = Folders::default();
    let paths = patterns.iter().flat_map(|pattern| pattern.files(&mut folders));
    // A file that cannot be read now is one that is not there.
    paths.filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?))).collect()
}

/// Reads standard input through the first job.
async fn run_stdin(args: &CollectorArgs, config: &CollectorConfig) -> Result<()> {
    let mut input = logstack_collector::StdinRun::new(config, args.dry_run)?;
    let mut printed = String::new();
    let mut rest = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut stdin = std::io::stdin().lock();
    loop {
        let count = stdin.read(&mut buffer).context("cannot read standard input")?;
        rest.extend_from_slice(&buffer[..count]);
        let end = match count {
            0 => rest.len(),
            _ => rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
        };
        for line in rest[..end].split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                input.line(line, &mut printed);
            }
        }
        rest.drain(..end);
        if count == 0 {
            input.end(&mut printed);
        }
        print(&mut printed)?;
        if count == 0 {
            break;
        }
    }
    input.finish().await;
    Ok(())
}

/// Prints what would be pushed, until a signal comes.
async fn dry_run(config: CollectorConfig) -> Result<()> {
    let (collector, mut lines) = Collector::start_dry(&config)?;
    let stop = serving::stop_signal();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            line = lines.recv() => match line {
                Some(mut line) => print(&mut line)?,
                None => break,
            },
        }
    }
    collector.stop(Duration::ZERO).await;
    Ok(())
}

fn print(text: &mut String) -> Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    text.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_client_that_has_its_url_as_an_argument() {
        #[track_caller]
        fn check(text: &str, are_there: bool, lacks_url: bool) {
            assert_eq!(OwnClients::of(text), OwnClients { are_there, lacks_url }, "{text}");
        }
        check("client:\n  timeout: 10s\nserver: {}\n", true, true);
        check("server: {}\nclient:\n  timeout: 10s\n\n  batchwait: 1s\npositions:\n  url: x\n", true, true);
        check("client: {timeout: 10s, url: 'http://x'}", true, false);
        check("client: {timeout: 10s}", true, true);
        check("clients:\n  - timeout: 10s\n", true, false);
        check("# client: {}\nscrape_configs: [{job_name: client}]", false, false);
        check("client: ${CLIENT}", true, false);
        check("client: {", false, false); // no YAML
        check("", false, false);
    }

    #[test]
    fn understands_promtails_flags() {
        #[track_caller]
        fn check(args: &str, want: &str) {
            let got = rewrite_go_flags(args.split(' ').map(str::to_owned));
            assert_eq!(got.join(" "), want);
        }
        check("logstack collector -config.file=/etc/p.yaml", "logstack collector --config-file /etc/p.yaml");
        check("logstack collector --config.file /etc/p.yaml", "logstack collector --config-file /etc/p.yaml");
        check("logstack collector -config.expand-env=true -dry-run", "logstack collector --expand-env --dry-run");
        check("logstack collector -stdin=false --stdin", "logstack collector --stdin");
        check("logstack collector -positions.file /p", "logstack collector --set positions.filename=/p");
        check("logstack collector -server.disable -stdin", "logstack collector --set server.disable=true --stdin");
        check("logstack collector --config-file x", "logstack collector --config-file x");
        check("logstack query -stdin", "logstack query -stdin");
        check("logstack collector -client.batch-wait=2s", "logstack collector --client-set batchwait=2s");
        check("logstack collector -server.grpc-listen-port=9095 -tracing.enabled", "logstack collector");
        check("logstack collector -log.format json -inspect", "logstack collector --log-format json --inspect");
        check("logstack collector -client.external-labels=a=b,c=d", "logstack collector --client-labels a=b,c=d");
        check("logstack collector -config.file=x -version", "logstack --version");
    }

    #[test]
    fn jobs_of_files_come_by_priority_and_a_bad_file_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let job = |name: &str| {
            format!("scrape_configs: [{{job_name: {name}, static_configs: [{{labels: {{__path__: /x}}}}]}}]")
        };
        write("a.yaml", &job("a"));
        write("b.yaml", &format!("priority: 5\n{}", job("b")));
        write("c.yaml", "scrape_configs: [{nonsense: 1}]");
        write("d.yaml", &job("main"));
        let mut jobs = vec![ScrapeConfig { job_name: "main".to_owned(), ..ScrapeConfig::default() }];
        let pattern = format!("{}/*.yaml", folder.path().display());
        let files = JobsFiles::read(&[pattern], &mut jobs).unwrap();
        let names: Vec<&str> = jobs.iter().map(|job| job.job_name.as_str()).collect();
        assert_eq!(names, ["main", "b", "a"]);
        let refused: Vec<_> = files.refused.iter().map(|(path, _)| path.file_name().unwrap()).collect();
        assert_eq!(refused, ["c.yaml", "d.yaml"]);
        assert!(!files.have_changed());
        write("a.yaml", &job("z"));
        assert!(files.have_changed());
    }
}
