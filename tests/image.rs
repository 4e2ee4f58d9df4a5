//! What the image is: one static binary that runs where there is nothing else, as nobody in particular, and a list of what
//! is in it.
//!
//! Building the binary takes minutes and a musl target with its C compiler (`rustup target add x86_64-unknown-linux-musl`,
//! `apt install musl-tools`), so it is asked for: `LOGSTACK_BUILD_STATIC=1 cargo test --test image` builds it with the
//! Dockerfile's own command, `LOGSTACK_STATIC_BINARY=FILE` takes one that is there. As root, for `chroot`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The image's limit.
const BYTES_MAX: u64 = 40 << 20;

/// Whom the image runs as.
const USER: u32 = 65532;

/// How long the binary may take to come up on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

const DOCKERFILE: &str = include_str!("../deploy/Dockerfile");

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary, built at most once.
fn binary() -> Option<&'static Path> {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || match std::env::var_os("LOGSTACK_STATIC_BINARY") {
        Some(path) => Some(path.into()),
        None if std::env::var_os("LOGSTACK_BUILD_STATIC").is_some() => Some(build()),
        None => {
            eprintln!("skipped: neither LOGSTACK_BUILD_STATIC nor LOGSTACK_STATIC_BINARY is set");
            None
        }
    };
    BINARY.get_or_init(find).as_deref()
}

/// Builds it as the Dockerfile does, where musl is the host.
fn build() -> PathBuf {
    let line = DOCKERFILE.lines().find(|line| line.trim_start().starts_with("cargo build ")).expect("a build command");
    let words = line.trim().trim_end_matches('\\').split_whitespace().skip(1);
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let status = Command::new(env!("CARGO"))
        .args(words)
        .args(["--target", &target])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(root())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "{line}");
    // target/tmp is beside the folders of targets.
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(target).join("release/logstack")
}

/// A folder with the binary and nothing else, as the image has it.
fn empty_root(binary: &Path) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(binary, root.path().join("logstack")).unwrap();
    let data = root.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(USER), Some(USER)).unwrap();
    // The user must be able to pass through.
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    root
}

/// A command of the binary in a root of its own, as the image's user.
fn inside(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("chroot");
    command.arg(format!("--userspec={USER}:{USER}")).arg(root).arg("/logstack").args(args);
    // Where chroot is, and nothing else.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

#[test]
fn the_static_binary_is_small_and_needs_nothing() {
    let Some(binary) = binary() else { return };
    let bytes = std::fs::metadata(binary).unwrap().len();
    eprintln!("{}: {bytes} bytes", binary.display());
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
    let root = empty_root(binary);
    let output = inside(root.path(), &["--version"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    // Time zones, definitions, the regular expressions of the default configuration: all inside.
    let output = inside(root.path(), &["crds"]).output().unwrap();
    assert!(output.status.success() && output.stdout.len() > 10_000, "{}", text(&output));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_engine_answers_in_an_empty_root() {
    let Some(binary) = binary() else { return };
    let root = empty_root(binary);
    // Free a moment ago; the engine says so if it no longer is.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let engine = inside(root.path(), &["engine", "--data-dir", "/data", "--listen", &address])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _engine = Killed(engine);
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        match request(&address, "GET /ready", "") {
            Ok(answer) if answer.contains(" 200 ") => break,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let push = format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{now}","a line"]]}}]}}"#);
    let answer = request(&address, "POST /loki/api/v1/push", &push).unwrap();
    assert!(answer.contains(" 204 "), "{answer}");
    let answer = request(&address, "GET /loki/api/v1/query_range?query=%7Bapp%3D%22a%22%7D", "").unwrap();
    assert!(answer.contains(" 200 ") && answer.contains("a line"), "{answer}");
}

/// The whole answer.
fn request(address: &str, line: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = body.len();
    let headers = "Host: logstack\r\nConnection: close\r\nContent-Type: application/json\r\nX-Scope-OrgID: a";
    write!(stream, "{line} HTTP/1.1\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut answer)?;
    reader.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_image_is_empty_and_not_roots() {
    let last = DOCKERFILE.split("\nFROM ").last().unwrap();
    assert!(last.starts_with("scratch\n"), "{last}");
    assert!(last.contains(&format!("\nUSER {USER}:{USER}\n")), "{last}");
    // What it takes for root is the DaemonSet's to say.
    assert!(DOCKERFILE.contains("--locked"));
}

/// The bill of materials names the crates that are compiled in, with the versions of the lock file.
#[test]
fn the_bill_of_materials_is_whole() {
    if Command::new("jq").arg("--version").output().is_err() {
        eprintln!("skipped: there is no jq");
        return;
    }
    let platform = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = Command::new("jq")
        .args(["-f", "deploy/sbom.jq"])
        .current_dir(root())
        .stdin(metadata.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(metadata.wait().unwrap().success());
    assert!(output.status.success(), "{}", text(&output));
    let bill: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let string = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let components = bill["components"].as_array().unwrap();
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for component in components {
        let (name, version) = (string(&component["name"]), string(&component["version"]));
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{name} {version}");
        let licence = component["licenses"][0]["expression"].as_str();
        assert!(licence.is_some_and(|licence| !licence.contains('/')), "{name}: {licence:?}");
    }
    let names: BTreeSet<String> = components.iter().map(|component| string(&component["name"])).collect();
    for inside in ["logstack-engine", "logstack-operator", "tokio", "ring", "zstd-sys", "kube-client"] {
        assert!(names.contains(inside), "{inside}");
    }
    for outside in ["criterion", "proptest", "serde_derive", "syn", "tempfile", "cc"] {
        assert!(!names.contains(outside), "{outside}");
    }
    // Every reference leads to a component.
    let refs: BTreeSet<String> = components.iter().map(|component| string(&component["bom-ref"])).collect();
    for dependency in bill["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(refs.contains(on.as_str().unwrap()), "{on}");
        }
    }
}
