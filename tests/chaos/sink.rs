//! A server that takes pushes and misbehaves on demand. It remembers what arrived, in order, by log and by life of the
//! collector (the label `life`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When no line has come for so long, those that are missing will not come.
const STALL_MAX: Duration = Duration::from_secs(40);

/// How requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Stored.
    Well,
    /// Stored, slowly.
    Slow,
    /// Connections are closed without an answer, nothing is stored.
    Down,
    /// Nothing is stored and nothing answered until the client gives up.
    Mute,
    /// Stored, but the connection is closed before the answer.
    Curt,
    /// This status, nothing is stored.
    Refusing(u16),
}

/// What is known of one log.
#[derive(Debug, Default)]
pub struct Seen {
    /// (life of the collector, number of the line), as they arrived.
    pub arrivals: Vec<(u32, u64)>,
    /// All lines below arrived.
    pub complete: u64,
    /// Arrived above `complete`.
    early: std::collections::BTreeSet<u64>,
}

impl Seen {
    /// True when it had not arrived before.
    fn add(&mut self, life: u32, number: u64) -> bool {
        self.arrivals.push((life, number));
        let is_new = number >= self.complete && self.early.insert(number);
        while self.early.remove(&self.complete) {
            self.complete += 1;
        }
        is_new
    }
}

/// The server; runs until the test ends.
#[derive(Clone)]
pub struct Sink {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<HashMap<String, Seen>>>,
    strange: Arc<Mutex<Vec<String>>>,
    /// The last body that was stored: whoever did not hear the answer sends the same bytes again, and must.
    last_body: Arc<Mutex<Vec<u8>>>,
    /// Lines that arrived for the first time.
    arrived: Arc<AtomicU64>,
    /// Requests that came again because their answer was not heard.
    unheard: Arc<AtomicU64>,
}

/// Waits for lines for as long as lines come, however slow the machine is.
pub struct Patience {
    arrived: u64,
    since: Instant,
}

impl Patience {
    /// From now on.
    pub fn new() -> Self {
        Self { arrived: 0, since: Instant::now() }
    }

    /// Pauses; false when nothing new has come for [`STALL_MAX`].
    pub fn wait(&mut self, sink: &Sink) -> bool {
        std::thread::sleep(Duration::from_millis(20));
        let arrived = sink.arrived.load(Ordering::Relaxed);
        if arrived != self.arrived {
            (self.arrived, self.since) = (arrived, Instant::now());
        }
        self.since.elapsed() < STALL_MAX
    }
}

impl Sink {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let sink = Self {
            address: listener.local_addr().expect("an address"),
            mood: Arc::new(Mutex::new(Mood::Well)),
            seen: Arc::default(),
            strange: Arc::default(),
            last_body: Arc::default(),
            arrived: Arc::default(),
            unheard: Arc::default(),
        };
        let server = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(&stream));
            }
        });
        sink
    }

    pub fn url(&self) -> String {
        format!("http://{}/loki/api/v1/push", self.address)
    }

    pub fn set_mood(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Lines of `log` below this number all arrived.
    pub fn complete(&self, log: &str) -> u64 {
        self.seen.lock().get(log).map_or(0, |seen| seen.complete)
    }

    /// What arrived above what is complete, in short.
    pub fn early(&self, log: &str) -> String {
        let seen = self.seen.lock();
        let Some(seen) = seen.get(log) else { return "nothing".to_owned() };
        format!("then {:?} to {:?}", seen.early.first(), seen.early.last())
    }

    /// Everything that arrived.
    pub fn take(&self) -> HashMap<String, Seen> {
        std::mem::take(&mut self.seen.lock())
    }

    /// Requests that came again because their answer was not heard.
    pub fn unheard(&self) -> u64 {
        self.unheard.load(Ordering::Relaxed)
    }

    /// Lines that nobody wrote like that.
    pub fn strange(&self) -> Vec<String> {
        self.strange.lock().clone()
    }

    /// Requests of one connection.
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(body) = read_request(&mut reader) {
            let mood = *self.mood.lock();
            let status = match mood {
                Mood::Slow => {
                    std::thread::sleep(Duration::from_millis(150));
                    204
                }
                Mood::Down => return,
                Mood::Mute => {
                    let _ = reader.read(&mut [0]);
                    return;
                }
                Mood::Curt | Mood::Well => 204,
                Mood::Refusing(status) => status,
            };
            if status == 204 {
                self.store(body);
            }
            if mood == Mood::Curt {
                return;
            }
            let mut answer = stream;
            if write!(answer, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    }

    fn store(&self, body: Vec<u8>) {
        let mut last_body = self.last_body.lock();
        if *last_body == body {
            self.unheard.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let raw = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
        *last_body = body;
        let mut seen = self.seen.lock();
        for (_, stream) in fields(&raw) {
            let mut life = None;
            for (field, value) in fields(stream) {
                if field == 1 {
                    let labels = std::str::from_utf8(value).expect("labels are UTF-8");
                    let at = labels.find("life=\"").expect("the label life") + 6;
                    life = labels[at..].split('"').next().and_then(|text| text.parse().ok());
                    continue;
                }
                let (_, line) = fields(value).find(|(field, _)| *field == 2).expect("a line");
                let line = String::from_utf8_lossy(line);
                match parse_line(&line) {
                    Some((log, number)) => {
                        let log = seen.entry(log.to_owned()).or_default();
                        if log.add(life.expect("a number"), number) {
                            self.arrived.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    None => self.strange.lock().push(line.into_owned()),
                }
            }
        }
    }
}

/// The line `number` of `log`. Its length differs from line to line, and its text can be checked.
pub fn line(log: &str, number: u64) -> String {
    let filler = (number.wrapping_mul(0x9e37_79b9) >> 7) as usize % 180;
    format!("{log} {number} {}.", "x".repeat(filler))
}

fn parse_line(text: &str) -> Option<(&str, u64)> {
    let (log, rest) = text.split_once(' ')?;
    let number = rest.split_once(' ')?.0.parse().ok()?;
    (line(log, number) == text).then_some((log, number))
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).ok()? == 0 {
            return None;
        }
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    // A collector that was killed leaves half a request.
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// The length-delimited fields of a protobuf message; varint fields are passed over.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            if bytes.is_empty() {
                return None;
            }
            let key = varint(&mut bytes);
            let value = varint(&mut bytes);
            if key & 7 == 2 {
                let (field, rest) = bytes.split_at(value as usize);
                bytes = rest;
                return Some((key >> 3, field));
            }
        }
    })
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
