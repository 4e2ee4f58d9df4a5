//! Starts the real binary and talks to it over HTTP. Shared by the test files of this folder.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a debug binary on a busy machine may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A client for what [`Process`] serves.
pub fn client() -> reqwest::Client {
    // The second call of a process fails, and then the provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A running `logstack` process; killed when dropped.
pub struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// Runs `logstack engine` on a free port of this machine.
    pub fn engine(data_dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logstack"));
        command.arg("engine").arg("--listen").arg("127.0.0.1:0").arg("--data-dir").arg(data_dir).args(args);
        Self::spawn(command)
    }

    /// Runs `logstack engine` with the text of a configuration, which is left in `data_dir`.
    pub fn engine_with(data_dir: &Path, yaml: &str) -> Self {
        let file = data_dir.join("engine.yaml");
        std::fs::write(&file, yaml).expect("the configuration can be written");
        Self::engine(data_dir, &["--config-file", file.to_str().expect("UTF-8 path")])
    }

    /// Runs `command` and waits until it logs the address that it listens on.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .env("LOGSTACK_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (sender, receiver) = mpsc::channel();
        // The pipe is drained for as long as the process lives: a full pipe would stop it.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) = listening_address(&line) {
                    let _ = sender.send(address);
                } else if line.contains("\"ERROR\"") || std::env::var_os("LOGSTACK_TEST_LOGS").is_some() {
                    eprintln!("{line}");
                }
            }
        });
        let address = receiver.recv_timeout(START_DEADLINE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("no listening address within {START_DEADLINE:?}")
        });
        Self { child, url: format!("http://{address}") }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").arg("-TERM").arg(pid).status().expect("kill runs");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still running 30 s after SIGTERM");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the log event `{"message":"listening","address":"127.0.0.1:3100",…}`.
fn listening_address(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields").unwrap_or(&event);
    (fields.get("message")? == "listening").then(|| fields.get("address")?.as_str().map(str::to_owned))?
}

/// Decompressed content of a file of `tests/golden`.
pub fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let packed = std::fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    String::from_utf8(zstd::decode_all(&packed[..]).expect("zstd")).expect("UTF-8")
}
