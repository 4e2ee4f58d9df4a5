//! Files to a server, with everything that can be wrong on the way: damaged memory, a folder that cannot be written, a
//! server that is not there, two jobs that want one file, files that are not UTF-8.

mod scene;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logstack_collector::Collector;
use scene::{Scene, append, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_costs_no_line() {
    let scene = Scene::new().await;
    append(&scene.path("app.log"), "one\ntwo\n");
    let config = scene.config("");
    let mut config = config;
    config.positions.filename = PathBuf::from("/proc/nowhere/positions.yaml");
    let collector = Collector::start(&config).unwrap();
    assert_eq!(scene.arrived(2).await, ["a:one", "a:two"]);
    append(&scene.path("app.log"), "three\n");
    assert_eq!(scene.arrived(3).await[2], "a:three");
    wait_until("it is counted", || collector.tail_metrics().state_errors.load(Ordering::Relaxed) > 0).await;
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_memory_is_set_aside() {
    let scene = Scene::new().await;
    append(&scene.path("app.log"), "one\n");
    fs::write(scene.path("positions.yaml"), "\0\0\0\0").unwrap();
    fs::write(scene.path("positions.yaml.state"), "nonsense").unwrap();
    fs::write(scene.path("positions.yaml.state.alt"), "").unwrap();
    let collector = Collector::start(&scene.config("")).unwrap();
    assert_eq!(scene.arrived(1).await, ["a:one"]);
    collector.stop(Duration::from_secs(5)).await;
    let names: Vec<String> =
        fs::read_dir(scene.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("positions.yaml.corrupt-")), "{names:?}");
    // What was written instead is good: nothing comes again.
    append(&scene.path("app.log"), "two\n");
    let collector = Collector::start(&scene.config("")).unwrap();
    assert_eq!(scene.arrived(2).await, ["a:one", "a:two"]);
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_where_promtail_stopped_and_writes_what_it_can_read() {
    let scene = Scene::new().await;
    let log = scene.path("app.log");
    append(&log, "sent by promtail\nnew\n");
    fs::write(scene.path("positions.yaml"), format!("positions:\n  {}: \"17\"\n", log.display())).unwrap();
    let collector = Collector::start(&scene.config("")).unwrap();
    assert_eq!(scene.arrived(1).await, ["a:new"]);
    collector.stop(Duration::from_secs(5)).await;
    let positions = fs::read_to_string(scene.path("positions.yaml")).unwrap();
    assert_eq!(positions, format!("positions:\n  {}: '21'\n", log.display()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_to_another_server_loses_and_reorders_nothing() {
    let scene = Scene::new().await;
    let lines = |from: u32, to: u32| (from..to).map(|n| format!("{n}\n")).collect::<String>();
    append(&scene.path("app.log"), &lines(0, 5000));
    // Nobody listens there.
    let mut collector = Collector::start(&scene.config_to("http://127.0.0.1:1/push", "")).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    append(&scene.path("app.log"), &lines(5000, 9000));
    collector.reload(&scene.config("")).unwrap();
    append(&scene.path("app.log"), &lines(9000, 10_000));
    let want: Vec<String> = (0..10_000).map(|n| format!("a:{n}")).collect();
    assert_eq!(scene.arrived(10_000).await, want);
    // A mistake changes nothing.
    let mut broken = scene.config("");
    broken.clients[0].url = "nonsense".to_owned();
    assert!(collector.reload(&broken).is_err());
    append(&scene.path("app.log"), "after\n");
    assert_eq!(scene.arrived(10_001).await[10_000], "a:after");
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_bounds_what_is_read() {
    let scene = Scene::new().await;
    append(&scene.path("app.log"), &format!("{}\n", "x".repeat(999)).repeat(20_000));
    let config = scene.config_to("http://127.0.0.1:1/push", "collector: {memory_limit: 2MB}\n");
    let collector = Collector::start(&config).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let read = || collector.tail_metrics().bytes.load(Ordering::Relaxed);
    let before = read();
    assert!(before < 4 << 20, "{before} bytes were read");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(read(), before, "reading has stopped");
    collector.stop(Duration::ZERO).await;
    let collector = Collector::start(&scene.config("")).unwrap();
    assert_eq!(scene.arrived(20_000).await.len(), 20_000, "nothing was sent before");
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_jobs_read_one_file_unless_told_otherwise() {
    for (exclusive, want) in [(false, vec!["a:one", "b:one"]), (true, vec!["a:one"])] {
        let scene = Scene::new().await;
        append(&scene.path("app.log"), "one\n");
        let jobs = format!("{}{}", scene.job("a", "*.log"), scene.job("b", "app.log"));
        let more = format!("collector: {{exclusive_files: {exclusive}}}\nscrape_configs:\n{jobs}");
        let collector = Collector::start(&scene.config(&more)).unwrap();
        let mut arrived = scene.arrived(want.len()).await;
        arrived.sort();
        assert_eq!(arrived, want);
        collector.stop(Duration::from_secs(5)).await;
        // Both have their places.
        let collector = Collector::start(&scene.config(&more)).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(scene.so_far().len(), want.len());
        collector.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_neighbours_that_a_glob_matches_are_not_read_twice() {
    let scene = Scene::new().await;
    append(&scene.path("app.log"), "one\n");
    let collector =
        Collector::start(&scene.config(&format!("scrape_configs:\n{}", scene.job("a", "app.log*")))).unwrap();
    assert_eq!(scene.arrived(1).await, ["a:one"]);
    fs::rename(scene.path("app.log"), scene.path("app.log.1")).unwrap();
    append(&scene.path("app.log.1"), "late\n");
    append(&scene.path("app.log"), "two\n");
    assert_eq!(scene.arrived(3).await, ["a:one", "a:late", "a:two"]);
    collector.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_other_encodings() {
    let scene = Scene::new().await;
    let utf16: Vec<u8> = "\u{feff}Grüße\r\n第二\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(scene.path("wide.log"), utf16).unwrap();
    fs::write(scene.path("latin.log"), b"na\xefve\n").unwrap();
    let jobs = format!(
        "{}  encoding: utf-16le\n{}  encoding: windows-1252\n",
        scene.job("wide", "wide.log"),
        scene.job("latin", "latin.log")
    );
    let collector = Collector::start(&scene.config(&format!("scrape_configs:\n{jobs}"))).unwrap();
    let mut arrived = scene.arrived(3).await;
    arrived.sort();
    assert_eq!(arrived, ["latin:naïve", "wide:Grüße", "wide:第二"]);
    collector.stop(Duration::from_secs(5)).await;
    let mut config = scene.config("");
    config.scrape_configs[0].encoding = "klingon".to_owned();
    let error = logstack_collector::check(&config).unwrap_err().to_string();
    assert_eq!(
        error,
        "scrape_configs[0].encoding: \"klingon\" is not the name of an encoding (hint: utf-16le, windows-1252)"
    );
}
