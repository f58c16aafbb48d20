//! The real Prometheus scrapes a node; the real promtool judges its metrics and our rules. Skipped, with a clear word, where
//! Debian's package `prometheus` is neither installed nor unpacked in `target/tools/prometheus` (`.ci/run` does that).
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // a test
#![allow(clippy::disallowed_methods)] // it waits for other processes, in real time

mod common;
use common::{Program, must, text};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A program of the package.
fn tool(name: &str) -> Option<PathBuf> {
    let unpacked = root().join("target/tools/prometheus/usr/bin").join(name);
    let installed = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|folder| folder.join(name)).collect::<Vec<_>>());
    [unpacked].into_iter().chain(installed).find(|path| path.is_file())
}

/// Asks over plain HTTP, and gives the body.
fn get(addr: &str, path: &str) -> Option<String> {
    let addr: SocketAddr = addr.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains("200").then(|| body.to_owned())
}

/// What a tool says of text on its standard input.
fn judge(tool: &Path, args: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What promtool minds of the originals' own names: CometBFT's label `chID`, and Fabric's counter that ends in `_count`.
const MINDED: [(&str, &str); 3] = [
    ("cometbft_p2p_peer_receive_bytes_total ", "not 'camelCase'"),
    ("cometbft_p2p_peer_send_bytes_total ", "not 'camelCase'"),
    ("gossip_comm_overflow_count ", "\"_count\" suffix"),
];

/// Whether a metric is ours, or one that every process has; the rest are go-ethereum's, CometBFT's and Fabric's.
fn is_ours(name: &str) -> bool {
    name.starts_with("switchboard_") || name.starts_with("process_")
}

/// The lines of those families whose name pleases.
fn families(metrics: &str, pleases: impl Fn(&str) -> bool) -> String {
    let name = |line: &str| {
        let line = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        pleases(line.split([' ', '{']).next().unwrap_or_default())
    };
    metrics.lines().filter(|line| name(line)).flat_map(|line| [line, "\n"]).collect()
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_real_prometheus_scrapes_a_node() {
    let (Some(prometheus), Some(promtool)) = (tool("prometheus"), tool("promtool")) else {
        eprintln!(
            "SKIPPED: Debian's package prometheus is not there: apt-get install prometheus, or run .ci/run"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (dir.path().join("data"), dir.path().join("other"));
    let wires = ["--listen", "127.0.0.1:0", "--protocol", "bench", "--metric-names", "native"];
    let (mut node, ready) =
        Program::node(&[&wires[..], &["--data", text(&data), "--admin", "127.0.0.1:0"]].concat());
    let http = node.wait("admin")["http"].as_str().unwrap().to_owned();
    let peers = ["devp2p", "comet"].map(|wire| common::url(&ready, wire));
    let (mut second, _) = Program::node(&[
        "--wire",
        "devp2p,comet",
        "--listen",
        "127.0.0.1:0",
        "--data",
        text(&other),
        "--protocol",
        "bench",
        "--peer",
        &peers[0],
        "--peer",
        &peers[1],
    ]);
    node.wait("peer_added");
    node.wait("peer_added");
    must(&["bench", "echo", &peers[1], "--count", "200", "--size", "100"]);

    // promtool reads the older text, and minds names, types, labels and help. Ours must please it.
    let metrics = get(&http, "/metrics").unwrap();
    let (good, said) = judge(&promtool, &["check", "metrics"], &families(&metrics, is_ours));
    println!("promtool check metrics: {} families, {said:?}", metrics.matches("# TYPE").count());
    assert!(good && said.trim().is_empty(), "{said}\n{metrics}");
    // The originals' names and labels are what dashboards ask for, so they stay where promtool would rather have others.
    let (_, said) = judge(&promtool, &["check", "metrics"], &families(&metrics, |name| !is_ours(name)));
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        assert!(
            MINDED.iter().any(|(name, why)| line.starts_with(name) && line.contains(why)),
            "{said}\n{metrics}"
        );
    }
    for id in [node_id(&ready, "devp2p"), node_id(&ready, "comet")] {
        assert!(!metrics.contains(&id), "no label names anybody");
    }
    let rules = root().join("ops/alerts.yml");
    let (good, said) = judge(&promtool, &["check", "rules", text(&rules)], "");
    println!("promtool check rules: {}", said.trim().replace('\n', " "));
    assert!(good, "{said}");

    // Prometheus itself, which asks for OpenMetrics, every second.
    let config = dir.path().join("prometheus.yml");
    let scrape = format!(
        "global:\n  scrape_interval: 1s\nrule_files: [{}]\nscrape_configs:\n  - job_name: switchboard\n    static_configs:\n      - \
         targets: [\"{http}\"]\n",
        text(&rules.canonicalize().unwrap())
    );
    fs::write(&config, scrape).unwrap();
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let child = Command::new(&prometheus)
        .arg(format!("--config.file={}", text(&config)))
        .arg(format!("--storage.tsdb.path={}", text(&dir.path().join("tsdb"))))
        .arg(format!("--web.listen-address={own}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _ends = Ends(child);
    let ask = |query: &str| -> Option<Vec<Value>> {
        let query: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let told: Value = serde_json::from_str(&get(&own, &format!("/api/v1/query?query={query}"))?).ok()?;
        told["data"]["result"].as_array().cloned()
    };
    let end = Instant::now() + Duration::from_secs(60);
    let count = |query: &str| ask(query).unwrap_or_default().len();
    while count("up{job=\"switchboard\"} == 1") == 0 || count("switchboard_peers > 0") < 2 {
        assert!(Instant::now() < end, "it was never scraped: {:?}", get(&own, "/api/v1/targets"));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    println!("prometheus: up, {} series", count("{job=\"switchboard\"}"));
    for query in [
        "switchboard_messages_total{wire=\"comet\",protocol=\"bench\",flow=\"in\"} >= 1",
        "switchboard_send_delay_seconds_bucket{le=\"+Inf\"} >= 1",
        "switchboard_handshake_seconds_count{stage=\"secure\"} >= 1",
        "switchboard_build_info",
        "switchboard_certificate_expiry_timestamp_seconds > time()",
        "p2p_peers >= 1",
        "cometbft_p2p_peers >= 1",
        "cometbft_p2p_peer_receive_bytes_total{chID=\"0x70\"} >= 1",
        "process_resident_memory_bytes > 0",
    ] {
        let found = count(query);
        println!("prometheus: {query}: {found}");
        assert!(found > 0, "{query}");
    }
    // No alert fires on a node that is well, and every query of the dashboard is one.
    for query in dashboard() {
        let query = query.replace("$instance", ".*");
        assert!(ask(&query).is_some(), "not a query: {query}");
    }
    assert_eq!((second.stop(), node.stop()), (0, 0));
}

fn node_id(ready: &Value, wire: &str) -> String {
    ready[wire]["id"].as_str().unwrap().to_owned()
}

/// Every query of the dashboard.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(root().join("ops/grafana.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let targets = board["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// What dashboard and alerts ask for is described.
#[test]
fn dashboards_and_alerts_name_metrics_that_are_described() {
    let docs = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let alerts = fs::read_to_string(root().join("ops/alerts.yml")).unwrap();
    let texts = dashboard().into_iter().chain(alerts.lines().map(str::to_owned));
    let mut seen = 0;
    for text in texts {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let base = word.trim_end_matches("_bucket");
            if word.starts_with("switchboard_") || word.starts_with("process_") {
                let short = base.rsplit_once("switchboard_pex").map_or(base, |(_, rest)| rest);
                assert!(
                    docs.contains(&format!("`{base}`")) || docs.contains(&format!("`{short}`")),
                    "{word} is not described"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
