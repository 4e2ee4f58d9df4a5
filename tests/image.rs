//! What the image does: the static binary runs where there is nothing else.
//!
//! Building it takes minutes and a musl target, so the test takes a binary that was built before:
//! `LOGSTACK_STATIC_BINARY=target/x86_64-unknown-linux-musl/release/logstack cargo test --test image` (as root, for
//! `chroot`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The image's limit.
const BYTES_MAX: u64 = 40 << 20;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("LOGSTACK_STATIC_BINARY").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: LOGSTACK_STATIC_BINARY names no binary");
    }
    path
}

/// A folder with the binary and nothing else, as the image has it.
fn empty_root(binary: &Path) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(binary, root.path().join("logstack")).unwrap();
    std::fs::create_dir(root.path().join("data")).unwrap();
    root
}

#[test]
fn the_static_binary_is_small_and_needs_nothing() {
    let Some(binary) = binary() else { return };
    let bytes = std::fs::metadata(&binary).unwrap().len();
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
    let root = empty_root(&binary);
    let output = Command::new("chroot").arg(root.path()).args(["/logstack", "--version"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_engine_answers_in_an_empty_root() {
    let Some(binary) = binary() else { return };
    let root = empty_root(&binary);
    // Free a moment ago; the engine says so if it no longer is.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let engine = Command::new("chroot")
        .arg(root.path())
        .args(["/logstack", "engine", "--data-dir", "/data", "--listen", &address.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _engine = Killed(engine);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match ready(&address.to_string()) {
            Ok(status) if status.contains(" 200 ") => return,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The status line of `GET /ready`.
fn ready(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET /ready HTTP/1.1\r\nHost: logstack\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status)?;
    reader.read_to_end(&mut Vec::new())?;
    Ok(status)
}
