//! What happens on a node when things go wrong for long: an engine that is away, a disk that is full, lines without end.
//!
//! Where each check of the collector's contract, section 9, lives:
//!
//! | check | test |
//! |---|---|
//! | 1 configurations of the charts, golden label sets | `charts.rs`; `src/discovery/kubernetes.rs` for pods without address, static, init and ephemeral containers, ports |
//! | 2 relabelling, Go's regex dialect | `src/discovery/relabel.rs`; `go/src/re2/tests.rs` |
//! | 3 rotation torture, kills, failing server | `tests/chaos/` of the workspace; `CHAOS_SECONDS` makes it longer |
//! | 4 inode used again, rename undone, copytruncate, deleted while behind | `src/tail/log.rs`, `src/tail/plan.rs`; below over the whole way |
//! | 4 reboot with the state kept or lost | `src/tail/plan.rs` (another device number), [`a_lost_state_begins_where_it_is_told`] |
//! | 4 damaged positions and state, read-only folder | `delivery.rs`, `src/state.rs`, `src/positions.rs` |
//! | 4 full disk under the state | [`a_full_disk_under_the_positions_costs_no_line`] |
//! | 4 clock set back | `src/tail/log.rs`: `a_clock_that_is_set_back_loses_nothing`; [`a_clock_that_was_ahead_at_the_first_start_makes_no_new_file_old`] |
//! | 5 CRI: pieces, streams, cut runes, offsets, malformed lines | `src/pipeline/stages/container.rs`; below across a rotation, and a line of 8 MiB |
//! | 6 stages | a table at the foot of each file of `src/pipeline/stages/` |
//! | 7 server away for two hours | [`an_outage_longer_than_memory_loses_nothing_and_catches_up_fairly`]: seconds in place of hours, a memory limit that is as much smaller; `benches/node.rs` for the memory of the process |
//! | 8 2,000 files: memory, descriptors, watches | `tests/node.rs` of the workspace; `benches/node.rs` for CPU |
//! | 8 requests to the API server | `api_load.rs` |

mod scene;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logstack_collector::Collector;
use logstack_collector::pipeline::Outgoing;
use logstack_collector::settings;
use logstack_collector::ship::{Budget, Clients, Entry, Limits};
use logstack_collector::state::{State, StateFile};
use logstack_logql::Labels;
use scene::{Scene, append, wait_until};
use tokio_util::sync::CancellationToken;

const STOP: Duration = Duration::from_secs(10);

/// A container and the kubelet behind it: renames, compresses what was renamed before, keeps four rotated files.
struct Container {
    path: PathBuf,
    rotated: Vec<PathBuf>,
}

impl Container {
    fn new(scene: &Scene, name: &str) -> Self {
        let folder = scene.path(&format!("pods/ns_{name}_uid-{name}/app"));
        fs::create_dir_all(&folder).unwrap();
        Self { path: folder.join("0.log"), rotated: Vec::new() }
    }

    fn write(&self, text: &str) {
        append(&self.path, &format!("2026-01-15T10:00:00.5Z stdout F {text}\n"));
    }

    fn rotate(&mut self) {
        for path in self.rotated.iter_mut().filter(|path| path.extension().is_none_or(|end| end != "gz")) {
            let packed = PathBuf::from(format!("{}.gz", path.display()));
            gzip(path, &packed);
            *path = packed;
        }
        let rotated = PathBuf::from(format!("{}.20260115-{:06}", self.path.display(), self.rotated.len()));
        fs::rename(&self.path, &rotated).unwrap();
        self.rotated.push(rotated);
        append(&self.path, "");
    }
}

fn gzip(from: &Path, to: &Path) {
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(to).unwrap(), flate2::Compression::fast());
    encoder.write_all(&fs::read(from).unwrap()).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(from).unwrap();
}

/// One job that reads all containers and says in the line whose it is.
fn pods(scene: &Scene) -> String {
    format!(
        "scrape_configs:\n- job_name: a\n  pipeline_stages: [{{cri: {{}}}}]\n  static_configs: [{{labels: {{job: a, __path__: '{0}/pods/*/*/*.log'}}}}]\ncollector: {{pod_logs_root: '{0}/pods', memory_limit: 1MB}}\n",
        scene.folder.path().display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_memory_loses_nothing_and_catches_up_fairly() {
    const CONTAINERS: usize = 12;
    const GENERATIONS: usize = 5;
    const LINES: usize = 250;
    let scene = Scene::new().await;
    let mut containers: Vec<Container> =
        (0..CONTAINERS).map(|idx| Container::new(&scene, &format!("c{idx}"))).collect();
    containers.iter().for_each(|container| container.write("before"));
    let collector = Collector::start(&scene.config(&pods(&scene))).unwrap();
    assert_eq!(scene.arrived(CONTAINERS).await.len(), CONTAINERS);

    scene.server.is_away.store(true, Ordering::Relaxed);
    // About 7 MB, with room for one.
    let filler = "x".repeat(400);
    for generation in 0..GENERATIONS {
        for (idx, container) in containers.iter_mut().enumerate() {
            for line in 0..LINES {
                container.write(&format!("c{idx} {} {filler}", generation * LINES + line));
            }
            if generation + 1 < GENERATIONS {
                container.rotate();
            }
        }
    }
    let view = collector.view();
    let budget = view.clients.budget();
    wait_until("memory is used up", || budget.used_bytes() >= 1 << 20).await;
    assert!(budget.used_bytes() < (1 << 20) + 64 * 1024, "{} bytes on their way", budget.used_bytes());
    let (read, refused) = (collector.tail_metrics().bytes.load(Ordering::Relaxed), &scene.server.refused);
    let before = refused.load(Ordering::Relaxed);
    wait_until("it goes on asking", || refused.load(Ordering::Relaxed) >= before + 5).await;
    assert_eq!(collector.tail_metrics().bytes.load(Ordering::Relaxed), read, "nobody reads meanwhile");

    scene.server.is_away.store(false, Ordering::Relaxed);
    let total = CONTAINERS + CONTAINERS * GENERATIONS * LINES;
    let arrived = scene.arrived(total).await;
    assert_eq!(arrived.len(), total, "each line once");
    let of = |idx: usize, lines: &[String]| -> Vec<usize> {
        let prefix = format!("a:c{idx} ");
        let numbers = lines.iter().filter_map(|line| line.strip_prefix(&prefix)?.split(' ').next()?.parse().ok());
        numbers.collect()
    };
    for idx in 0..CONTAINERS {
        assert_eq!(of(idx, &arrived), (0..GENERATIONS * LINES).collect::<Vec<_>>(), "c{idx}, oldest first");
        assert!(!of(idx, &arrived[..total / 2]).is_empty(), "c{idx} has had no turn when half of all has arrived");
    }
    collector.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rotated_or_deleted_while_the_server_is_away_is_read_from_open_files() {
    let scene = Scene::new().await;
    let mut container = Container::new(&scene, "short");
    container.write("0");
    // Others use up the memory, so that this one is not read at all.
    append(&scene.path("app.log"), &format!("{}\n", "x".repeat(999)).repeat(4000));
    let jobs = pods(&scene).replace("collector:", &format!("{}collector:", scene.job("b", "app.log")));
    scene.server.is_away.store(true, Ordering::Relaxed);
    let collector = Collector::start(&scene.config(&jobs)).unwrap();
    let metrics = collector.tail_metrics();
    wait_until("both are open", || metrics.open_files.load(Ordering::Relaxed) == 2).await;
    wait_until("memory is used up", || metrics.bytes.load(Ordering::Relaxed) > 1_000_000).await;
    for number in 1..4 {
        container.write(&number.to_string());
        container.rotate();
        // Its fourth file would be deleted by the kubelet now.
        wait_until("the new file is open", || descriptors_of(&container.path) == 1).await;
    }
    container.write("4");
    fs::remove_dir_all(scene.path("pods/ns_short_uid-short")).unwrap();
    scene.server.is_away.store(false, Ordering::Relaxed);
    let arrived = scene.arrived(4005).await;
    let of_container: Vec<&str> = arrived.iter().filter_map(|line| line.strip_prefix("a:")).collect();
    assert_eq!(of_container, ["0", "1", "2", "3", "4"]);
    collector.stop(STOP).await;
}

/// Descriptors of this process for the file that has this name now.
fn descriptors_of(path: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link == path).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_a_line_are_joined_across_a_rotation() {
    let scene = Scene::new().await;
    let mut container = Container::new(&scene, "p");
    append(&container.path, "2026-01-15T10:00:00Z stdout P one, \n");
    let collector = Collector::start(&scene.config(&pods(&scene))).unwrap();
    wait_until("it is read", || collector.tail_metrics().lines.load(Ordering::Relaxed) == 1).await;
    container.rotate();
    container.write("two");
    assert_eq!(scene.arrived(1).await, ["a:one, two"]);
    collector.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_8_mib_is_cut_and_what_follows_is_whole() {
    let scene = Scene::new().await;
    let path = scene.path("app.log");
    append(&path, "before\n");
    for _ in 0..8 {
        append(&path, &"x".repeat(1 << 20));
    }
    append(&path, "\nafter\n");
    let collector = Collector::start(&scene.config("")).unwrap();
    let arrived = scene.arrived(3).await;
    let limit = settings::tail(&scene.config("")).line_bytes_max;
    assert_eq!(arrived.iter().map(String::len).collect::<Vec<_>>(), ["a:before".len(), 2 + limit, "a:after".len()]);
    collector.stop(STOP).await;
}

/// A small volume of its own; unmounted when dropped. `None` where that is not allowed.
struct Volume(tempfile::TempDir);

impl Volume {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(dir.path()).output();
        mounted.ok()?.status.success().then_some(Self(dir))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_positions_costs_no_line() {
    let Some(volume) = Volume::mount() else {
        eprintln!("not allowed to mount a tmpfs: nothing tested");
        return;
    };
    let scene = Scene::new().await;
    let mut config = scene.config("");
    config.positions.filename = volume.0.path().join("positions.yaml");
    append(&scene.path("app.log"), "one\n");
    let collector = Collector::start(&config).unwrap();
    assert_eq!(scene.arrived(1).await, ["a:one"]);
    let filler = volume.0.path().join("somebody-elses-file");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write(&[0; 4096]).is_ok_and(|count| count > 0) {}
    let errors = &collector.tail_metrics().state_errors;
    append(&scene.path("app.log"), "two\n");
    assert_eq!(scene.arrived(2).await, ["a:one", "a:two"]);
    wait_until("it is counted", || errors.load(Ordering::Relaxed) > 1).await;
    // Whoever is killed now begins with the last state that was whole.
    let kept = scene.path("kept");
    fs::create_dir(&kept).unwrap();
    for entry in fs::read_dir(volume.0.path()).unwrap().flatten().filter(|entry| entry.path() != filler) {
        fs::copy(entry.path(), kept.join(entry.file_name())).unwrap();
    }
    // There is space again: it writes by itself, and a restart sends nothing twice.
    drop(file);
    fs::remove_file(&filler).unwrap();
    append(&scene.path("app.log"), "three\n");
    assert_eq!(scene.arrived(3).await[2], "a:three");
    collector.stop(STOP).await;
    append(&scene.path("app.log"), "four\n");
    let collector = Collector::start(&config).unwrap();
    assert_eq!(scene.arrived(4).await[3], "a:four");
    collector.stop(STOP).await;
    config.positions.filename = kept.join("positions.yaml");
    let collector = Collector::start(&config).unwrap();
    // How much of it still found room differs; what came later is not in it.
    let again = scene.arrived(6).await.split_off(4);
    assert!(
        ["a:two", "a:three", "a:four"].ends_with(&again.iter().map(String::as_str).collect::<Vec<_>>()),
        "{again:?}"
    );
    collector.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_state_begins_where_it_is_told() {
    for (read_from, want) in [("beginning", vec!["a:old", "a:old", "a:new"]), ("end", vec!["a:new"])] {
        let scene = Scene::new().await;
        append(&scene.path("app.log"), "old\n");
        let config = scene.config(&format!("collector: {{read_from: {read_from}}}\n"));
        let collector = Collector::start(&config).unwrap();
        wait_until("it is open", || collector.tail_metrics().open_files.load(Ordering::Relaxed) == 1).await;
        if read_from == "beginning" {
            scene.arrived(1).await;
        }
        collector.stop(STOP).await;
        for name in ["positions.yaml", "positions.yaml.state", "positions.yaml.state.alt"] {
            let _ = fs::remove_file(scene.path(name));
        }
        let collector = Collector::start(&config).unwrap();
        wait_until("it is open", || collector.tail_metrics().open_files.load(Ordering::Relaxed) == 1).await;
        append(&scene.path("app.log"), "new\n");
        assert_eq!(scene.arrived(want.len()).await, want, "{read_from}");
        collector.stop(STOP).await;
    }
}

/// Discovery takes its time: what was on the node at the start is no news because its target comes late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_late_targets_begin_where_it_is_told() {
    for (read_from, want) in [("beginning", vec!["a:old", "a:new"]), ("end", vec!["a:new"])] {
        let scene = Scene::new().await;
        append(&scene.path("app.log"), "old\n");
        let jobs = format!(
            "collector: {{read_from: {read_from}}}\nscrape_configs: [{{job_name: a, file_sd_configs: [{{files: ['{}'], refresh_interval: 100ms}}]}}]\n",
            scene.path("targets.json").display()
        );
        let collector = Collector::start(&scene.config(&jobs)).unwrap();
        wait_until("it looked around", || collector.tail_metrics().scans.load(Ordering::Relaxed) > 0).await;
        let target = format!(
            "[{{\"targets\": [\"\"], \"labels\": {{\"job\": \"a\", \"__path__\": \"{}\"}}}}]",
            scene.path("app.log").display()
        );
        append(&scene.path("targets.json"), &target);
        wait_until("it is open", || collector.tail_metrics().open_files.load(Ordering::Relaxed) == 1).await;
        append(&scene.path("app.log"), "new\n");
        assert_eq!(scene.arrived(want.len()).await, want, "{read_from}");
        collector.stop(STOP).await;
    }
}

/// A node without a clock of its own is an hour ahead until somebody tells it the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_ahead_at_the_first_start_makes_no_new_file_old() {
    let scene = Scene::new().await;
    let ahead = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap() + 3_600_000_000_000;
    let mut state_file = StateFile::new(&scene.path("positions.yaml"));
    state_file.store(State { first_start_ns: ahead, ..State::default() }).unwrap();
    let collector = Collector::start(&scene.config("collector: {read_from: end}\n")).unwrap();
    wait_until("it looked around", || collector.tail_metrics().scans.load(Ordering::Relaxed) > 0).await;
    // Filesystems take the time from a clock that ticks some hundred times a second.
    tokio::time::sleep(Duration::from_millis(50)).await;
    append(&scene.path("app.log"), "one\n");
    assert_eq!(scene.arrived(1).await, ["a:one"]);
    collector.stop(STOP).await;
}

/// A container that writes fast, on a node that is busy: its log is rotated before anybody looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_came_after_the_first_start_is_read_with_what_was_rotated_before_it_was_found() {
    let scene = Scene::new().await;
    let fill = |folder: &str| {
        let folder = scene.path(folder);
        fs::create_dir_all(&folder).unwrap();
        append(&folder.join("0.log.20260101-000000"), "rotated\n");
        append(&folder.join("0.log"), "now\n");
    };
    fill("pods/ns_before_1/app");
    let config = scene.config(&format!(
        "collector: {{pod_logs_root: {}}}\nscrape_configs:\n{}",
        scene.path("pods").display(),
        scene.job("a", "pods/*/*/*.log"),
    ));
    let collector = Collector::start(&config).unwrap();
    assert_eq!(scene.arrived(1).await, ["a:now"]);
    fill("made/app");
    fs::rename(scene.path("made"), scene.path("pods/ns_after_2")).unwrap();
    assert_eq!(scene.arrived(3).await[1..], ["a:rotated", "a:now"]);
    collector.stop(STOP).await;
}

/// Long before positions are due: whoever is killed then knows the file again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_remembered_when_it_is_found() {
    let scene = Scene::new().await;
    append(&scene.path("app.log"), "one\n");
    let mut config = scene.config("");
    config.positions.sync_period = "1h".parse().unwrap();
    let collector = Collector::start(&config).unwrap();
    assert_eq!(scene.arrived(1).await, ["a:one"]);
    let killed = scene.path("killed");
    fs::create_dir(&killed).unwrap();
    for name in ["positions.yaml", "positions.yaml.state", "positions.yaml.state.alt"] {
        let _ = fs::copy(scene.path(name), killed.join(name));
    }
    append(&scene.path("app.log"), "two\n");
    scene.arrived(2).await;
    collector.stop(STOP).await;
    fs::rename(scene.path("app.log"), scene.path("app.log.1")).unwrap();
    append(&scene.path("app.log"), "three\n");
    config.positions.filename = killed.join("positions.yaml");
    let collector = Collector::start(&config).unwrap();
    assert_eq!(scene.arrived(5).await[2..], ["a:one", "a:two", "a:three"]);
    collector.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_waits_for_another_one_leaves_its_state_alone() {
    let scene = Scene::new().await;
    append(&scene.path("app.log"), "one\n");
    let config = scene.config("");
    let first = Collector::start(&config).unwrap();
    let waiting = Collector::start(&config).unwrap();
    let stopped = Collector::start(&config).unwrap();
    assert_eq!(scene.arrived(1).await, ["a:one"]);
    let state = || {
        ["positions.yaml", "positions.yaml.state", "positions.yaml.state.alt"]
            .map(|name| fs::read(scene.path(name)).ok())
    };
    wait_until("the position is written", || scene_has_position(&scene, "'4'")).await;
    let before = state();
    stopped.stop(STOP).await;
    assert_eq!(state(), before, "it read nothing and has nothing to say");
    append(&scene.path("app.log"), "two\n");
    assert_eq!(scene.arrived(2).await, ["a:one", "a:two"]);
    first.stop(STOP).await;
    append(&scene.path("app.log"), "three\n");
    assert_eq!(scene.arrived(3).await, ["a:one", "a:two", "a:three"], "who waited goes on where the first one stopped");
    waiting.stop(STOP).await;
}

fn scene_has_position(scene: &Scene, text: &str) -> bool {
    fs::read_to_string(scene.path("positions.yaml")).is_ok_and(|positions| positions.contains(text))
}

/// The channel to a sender has no bound of its own: whoever adds must stop when it is told so.
#[tokio::test]
async fn what_waits_for_a_sender_is_bounded_by_the_budget() {
    let scene = Scene::new().await;
    let limit = 256 * 1024;
    let budget = Budget::new(limit);
    let mut config = scene.config_to("http://127.0.0.1:1/push", "");
    config.clients[0].batchsize = "32KB".parse().unwrap();
    let clients = settings::clients(&config).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let clients = Clients::new(clients, Limits::default(), budget.clone(), runtime, CancellationToken::new());
    let mut shippers = [clients.shipper(), clients.shipper()];
    let labels = Labels::from_pairs([("app", "web")]);
    let tenants = [None, Some("a"), Some("b"), Some("c"), Some("d")];
    let line = [b'x'; 1000];
    let mut held = Vec::new();
    let mut added = 0;
    for round in 0..10_000 {
        for (idx, shipper) in shippers.iter_mut().enumerate() {
            let tenant = tenants[(round + idx) % tenants.len()];
            shipper.flush(false);
            if !shipper.has_room(tenant) {
                continue;
            }
            let entry = Entry { tenant, labels: &labels, timestamp_ns: 1, line: &line, metadata: &[] };
            shipper.add(&mut Outgoing { entry, held: &mut held, current: None });
            added += 1;
        }
    }
    assert!(budget.used_bytes() >= limit / 2, "{} bytes of {added} entries", budget.used_bytes());
    assert!(budget.used_bytes() < limit + 2 * line.len(), "{} bytes of {added} entries", budget.used_bytes());
    drop(shippers);
}
