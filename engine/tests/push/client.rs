//! An engine on a free port, and an HTTP client small enough to send anything.

use std::time::{SystemTime, UNIX_EPOCH};

use logstack_engine::server::{Server, ServerOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub struct Engine {
    server: Server,
    _dir: TempDir,
}

pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Engine {
    /// Without tenants. Lines of `limits` go below `limits_config`, up to one that starts another section.
    pub async fn start(limits: &str) -> Self {
        let (limits, rest) = match limits.find("\ndistributor:") {
            Some(at) => limits.split_at(at),
            None => (limits, ""),
        };
        let limits: String = limits.lines().map(|line| format!("  {line}\n")).collect();
        // `app` of OTLP resources is a label, so that all encodings can make the same stream.
        let otlp =
            "  otlp_config: {resource_attributes: {attributes_config: [{action: index_label, attributes: [app]}]}}\n";
        Self::start_with(&format!("auth_enabled: false\nlimits_config:\n{limits}{otlp}{rest}\n")).await
    }

    pub async fn start_with(config: &str) -> Self {
        let (config, _) =
            logstack_config::load(config, "engine.yaml").unwrap_or_else(|errors| panic!("{errors}\n{config}"));
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions {
            config,
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.path().to_owned(),
            set_log_level: None,
        };
        Self { server: Server::start(options).await.unwrap(), _dir: dir }
    }

    pub fn now_ns(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.request("POST", path, headers, body).await
    }

    pub async fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(&[request.as_bytes(), body].concat()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&reply[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
        Reply { status, headers: headers.collect(), body: reply[end + 4..].to_vec() }
    }

    /// Streams of a log query, oldest entry first, sorted by their number of labels: labels and values.
    pub async fn streams(&self, query: &str, start_ns: i64, end_ns: i64) -> Vec<(Value, Vec<Value>)> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let target = format!(
            "/loki/api/v1/query_range?query={query}&start={start_ns}&end={end_ns}&direction=forward&limit=1000"
        );
        let reply = self.request("GET", &target, &[], b"").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        let streams = answer["data"]["result"].as_array().unwrap();
        let mut streams: Vec<(Value, Vec<Value>)> = streams
            .iter()
            .map(|stream| (stream["stream"].clone(), stream["values"].as_array().unwrap().clone()))
            .collect();
        streams.sort_by_key(|(labels, _)| labels.as_object().unwrap().len());
        streams
    }
}
