//! What writes and rotates logs on a node: containers with the kubelet behind them, host programs with logrotate.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::sink::{Patience, Sink, line};

/// What all writers share.
pub struct World {
    pub pods: PathBuf,
    pub host: PathBuf,
    pub sink: Sink,
    /// Writers stop at this time.
    pub until: Instant,
    /// Held by who must not see the collector die.
    pub alive: RwLock<()>,
    /// Its process.
    pub pid: Arc<AtomicU32>,
    /// Lines written, by log.
    pub written: Mutex<std::collections::HashMap<String, u64>>,
    pub rotations: AtomicU64,
}

impl World {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// True when the collector holds `path` open.
    fn has_open(&self, path: &Path) -> bool {
        let links =
            fs::read_dir(format!("/proc/{}/fd", self.pid.load(Ordering::Relaxed))).into_iter().flatten().flatten();
        links.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| link == path)
    }

    fn note(&self, log: &str, written: u64) {
        self.written.lock().insert(log.to_owned(), written);
    }
}

/// Random numbers that can be had again.
pub struct Random(pub u64);

impl Random {
    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    pub fn pause_ms(&mut self, from: u64, to: u64) {
        std::thread::sleep(Duration::from_millis(from + self.below(to - from)));
    }
}

/// Appends to a log; what is rotated away under it is written on until it is told to reopen.
struct LogFile {
    path: PathBuf,
    file: File,
    is_container: bool,
}

impl LogFile {
    fn open(path: &Path, is_container: bool) -> Self {
        Self { path: path.to_owned(), file: append_to(path), is_container }
    }

    fn reopen(&mut self) {
        self.file = append_to(&self.path);
    }

    /// Some lines in one write, as runtimes do.
    fn write(&mut self, log: &str, numbers: std::ops::Range<u64>, random: &mut Random) {
        let mut text = String::new();
        for number in numbers {
            let line = line(log, number);
            if !self.is_container {
                text.push_str(&line);
                text.push('\n');
                continue;
            }
            let mut rest = line.as_str();
            if random.below(10) == 0 {
                let (first, second) = rest.split_at(rest.len() / 2);
                text.push_str(&format!("{} stdout P {first}\n", timestamp()));
                // The other half comes with another write, sometimes.
                if random.below(2) == 0 {
                    self.append(&mut text);
                    random.pause_ms(0, 3);
                }
                rest = second;
            }
            text.push_str(&format!("{} stdout F {rest}\n", timestamp()));
            if random.below(20) == 0 {
                // Half a line is on disk for a moment.
                let end = text.split_off(text.len() - 5);
                self.append(&mut text);
                random.pause_ms(0, 2);
                text = end;
            }
        }
        self.append(&mut text);
    }

    fn append(&mut self, text: &mut String) {
        self.file.write_all(text.as_bytes()).expect("the log can be written");
        text.clear();
    }
}

fn append_to(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("the log can be opened")
}

/// Nanoseconds as a container runtime writes them.
fn timestamp() -> String {
    jiff::Timestamp::now().to_string()
}

/// A container that writes until the end, and the kubelet that rotates its log: rename, compress later, remove oldest.
pub fn container(world: &World, log: &str, mut random: Random) {
    let folder = world.pods.join(format!("ns_{log}_uid-{log}/app"));
    fs::create_dir_all(&folder).expect("the folder can be made");
    let path = folder.join("0.log");
    let mut file = LogFile::open(&path, true);
    let mut kubelet = Kubelet { path, rotated: Vec::new(), next: 0, packs: true };
    let mut number = 0;
    let mut next_rotation = Instant::now() + Duration::from_millis(300 + random.below(2000));
    while !world.is_over() {
        let count = 1 + random.below(60);
        file.write(log, number..number + count, &mut random);
        number += count;
        world.note(log, number);
        random.pause_ms(1, 40);
        if Instant::now() < next_rotation {
            continue;
        }
        next_rotation = Instant::now() + Duration::from_millis(300 + random.below(2500));
        kubelet.tidy(world, log);
        kubelet.rename();
        if random.below(8) == 0 {
            // The runtime does not reopen: the kubelet takes it back.
            random.pause_ms(0, 20);
            kubelet.undo();
            continue;
        }
        // The runtime has not heard of it yet.
        file.write(log, number..number + 3, &mut random);
        number += 3;
        random.pause_ms(0, 20);
        file.reopen();
        kubelet.rotated.last_mut().expect("renamed above").1 = number;
        world.rotations.fetch_add(1, Ordering::Relaxed);
    }
    world.note(log, number);
}

/// Rotates like the kubelet, or like logrotate with dates.
struct Kubelet {
    path: PathBuf,
    /// Uncompressed path, and the number of the first line behind it.
    rotated: Vec<(PathBuf, u64)>,
    next: u64,
    packs: bool,
}

impl Kubelet {
    /// Removes what is too much and compresses what is rotated. A file that has not arrived stays: what is lost because
    /// nobody read it for too long is another test's affair.
    fn tidy(&mut self, world: &World, log: &str) {
        while self.rotated.len() > 3 && world.sink.complete(log) >= self.rotated[0].1 {
            let (path, _) = self.rotated.remove(0);
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(with_suffix(&path, ".gz"));
        }
        for (path, _) in self.rotated.iter().filter(|_| self.packs) {
            if !path.exists() {
                continue;
            }
            let temporary = with_suffix(path, ".tmp");
            let mut packed = flate2::write::GzEncoder::new(
                File::create(&temporary).expect("a file can be made"),
                flate2::Compression::fast(),
            );
            packed.write_all(&fs::read(path).expect("the rotated file is there")).expect("it can be written");
            packed.finish().expect("it can be written");
            fs::rename(&temporary, with_suffix(path, ".gz")).expect("it can be renamed");
            fs::remove_file(path).expect("it can be removed");
        }
    }

    fn rename(&mut self) {
        self.next += 1;
        let rotated = with_suffix(&self.path, &format!(".20260101-{:06}", self.next));
        fs::rename(&self.path, &rotated).expect("the log can be renamed");
        self.rotated.push((rotated, u64::MAX));
    }

    fn undo(&mut self) {
        let (rotated, _) = self.rotated.pop().expect("just renamed");
        fs::rename(rotated, &self.path).expect("the log can be renamed back");
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().expect("a file").to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Pods that come, write a little, and are deleted with their folder.
pub fn churn(world: &World, name: &str, mut random: Random) {
    for idx in 0.. {
        if world.is_over() {
            return;
        }
        let log = format!("{name}-{idx}");
        let pod = world.pods.join(format!("ns_{log}_uid-{log}"));
        let folder = pod.join("app");
        // A killed collector forgets deleted files that it held open: no collector can read them again.
        let is_hasty = random.below(2) == 0;
        let alive = is_hasty.then(|| world.alive.read());
        fs::create_dir_all(&folder).expect("the folder can be made");
        let path = folder.join("0.log");
        let mut file = LogFile::open(&path, true);
        let count = 1 + random.below(300);
        file.write(&log, 0..count / 2, &mut random);
        random.pause_ms(50, 300);
        if is_hasty {
            // Long enough to be seen.
            let mut patience = Patience::new();
            while !world.has_open(&path) {
                assert!(patience.wait(&world.sink), "{log} is not opened, and no lines come");
            }
        }
        file.write(&log, count / 2..count, &mut random);
        world.note(&log, count);
        if alive.is_none() {
            wait_for(world, &log, count);
        }
        drop(file);
        fs::remove_dir_all(&pod).expect("the folder can be removed");
        wait_for(world, &log, count);
        drop(alive);
        random.pause_ms(1, 300);
    }
}

/// A host program whose log is rotated by logrotate: copied and cut in place, or renamed with numbers, or just cut.
pub fn host_program(world: &World, log: &str, how: HostRotation, mut random: Random) {
    let path = world.host.join(format!("{log}.log"));
    let mut file = LogFile::open(&path, false);
    let mut number = 0;
    let mut next_rotation = Instant::now() + Duration::from_millis(500 + random.below(2000));
    while !world.is_over() {
        let count = 1 + random.below(40);
        file.write(log, number..number + count, &mut random);
        number += count;
        world.note(log, number);
        random.pause_ms(1, 30);
        if Instant::now() < next_rotation {
            continue;
        }
        next_rotation = Instant::now() + Duration::from_millis(800 + random.below(2500));
        match how {
            HostRotation::CopyTruncate => {
                if !is_followed(world, log, number) {
                    continue;
                }
                shift_numbers(&path);
                fs::copy(&path, with_suffix(&path, ".1")).expect("the log can be copied");
                file.file.set_len(0).expect("the log can be cut");
            }
            HostRotation::Numbers => {
                if !is_followed(world, log, number) {
                    continue;
                }
                shift_numbers(&path);
                fs::rename(&path, with_suffix(&path, ".1")).expect("the log can be renamed");
                file.write(log, number..number + 2, &mut random);
                number += 2;
                file.reopen();
            }
            HostRotation::Truncate => {
                // Unread lines of a file that is cut without a copy are gone for everybody.
                wait_for(world, log, number);
                file.file.set_len(0).expect("the log can be cut");
            }
        }
        world.rotations.fetch_add(1, Ordering::Relaxed);
    }
    world.note(log, number);
}

/// True when the log was found, and what was rotated away before has arrived; what is rotated now need not have.
fn is_followed(world: &World, log: &str, number: u64) -> bool {
    let complete = world.sink.complete(log);
    complete > 0 && complete + 3000 >= number
}

/// How a host's log is rotated.
#[derive(Debug, Clone, Copy)]
pub enum HostRotation {
    CopyTruncate,
    Numbers,
    Truncate,
}

/// `.2` to `.3`, `.1` to `.2`.
fn shift_numbers(path: &Path) {
    for number in (1..40).rev() {
        let _ = fs::rename(with_suffix(path, &format!(".{number}")), with_suffix(path, &format!(".{}", number + 1)));
    }
    let _ = fs::remove_file(with_suffix(path, ".40"));
}

fn wait_for(world: &World, log: &str, count: u64) {
    let mut patience = Patience::new();
    while world.sink.complete(log) < count {
        let complete = world.sink.complete(log);
        assert!(patience.wait(&world.sink), "{log}: {complete} of {count} lines arrived, and no others come");
    }
}

/// Starts `writer` in a thread of its own.
pub fn spawn(world: &Arc<World>, writer: impl FnOnce(&World) + Send + 'static) -> std::thread::JoinHandle<()> {
    let world = world.clone();
    std::thread::spawn(move || writer(&world))
}
