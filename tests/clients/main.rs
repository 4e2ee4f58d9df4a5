//! Real clients against the real binary: python-logging-loki, OpenTelemetry's Python SDK, winston-loki, and
//! schemathesis with `docs/openapi.yaml`.
//!
//! They come from the registries and take a minute to install, so they run only when asked for:
//!
//! ```text
//! LOGSTACK_CLIENTS=1 cargo test --test clients -- --nocapture
//! ```

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;

const CONFIG: &str = "auth_enabled: false\ncompactor: {retention_enabled: true, delete_request_store: filesystem}\n";

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn clients_of_the_registries_work() {
    if std::env::var_os("LOGSTACK_CLIENTS").is_none() {
        eprintln!("skipped: LOGSTACK_CLIENTS=1 installs the clients and runs them");
        return;
    }
    for program in ["python3", "node", "npm"] {
        if !is_there(program) {
            eprintln!("skipped: there is no {program} here");
            return;
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let process = common::Process::engine_with(dir.path(), CONFIG);
    let status = Command::new("bash")
        .arg(root.join("tests/clients/run.sh"))
        .arg(process.url())
        .env("CLIENTS_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients"))
        .status()
        .unwrap();
    match status.code() {
        Some(0) => {}
        Some(77) => eprintln!("skipped: the registries cannot be reached"),
        code => panic!("the clients failed: {code:?}"),
    }
}
