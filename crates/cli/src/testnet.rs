//! `testnet`: folders, keys, configuration files and one start script for a local network across processes.
//!
//! ```text
//!   OUT/node0/node.toml, OUT/node0/data/ …   one folder a node; each keeps the next one connected, as a ring
//!   OUT/fabric/                              the organisation, on wire fabric
//!   OUT/start.sh                             starts all, ends all
//! ```

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::Kind;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use switchboard::Env;
use switchboard_node::kit::{External, KeyPlan};

/// Write folders, keys, configuration files and a start script for a local network of several processes.
///
/// Example: switchboard testnet --nodes 4 --wire comet --out ./net
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Nodes of the network.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=100))]
    nodes: u16,
    /// Wires, separated by commas (default: all).
    #[arg(long, value_delimiter = ',')]
    wire: Vec<Kind>,
    /// The folder to make.
    #[arg(long)]
    out: PathBuf,
    /// The first port; each node has the next.
    #[arg(long, default_value_t = 30_300, value_parser = clap::value_parser!(u16).range(1_024..=65_000))]
    port: u16,
    /// The first port of administration; each node has the next.
    #[arg(long, default_value_t = 6_060, value_parser = clap::value_parser!(u16).range(1_024..=65_000))]
    admin_port: u16,
    /// The network's name, on wires that name theirs.
    #[arg(long, default_value = "testnet")]
    network: String,
}

/// Where each wire's key lies in a data folder, if it is a file.
fn key_file(wire: &str) -> Option<&'static str> {
    match wire {
        "devp2p" => Some("nodekey"),
        "comet" => Some("node_key.json"),
        _ => None,
    }
}

/// A text in the quotes of TOML.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let out = &args.out;
    let failed = |e: &dyn std::fmt::Display| {
        Fail::usage(format!("cannot make {}: {e}: choose another --out", out.display()))
    };
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Fail::usage(format!("{} is not empty: choose another --out", out.display())));
    }
    if args.network.is_empty() || args.network.len() > 50 {
        return Err(Fail::usage("--network is a name of 1 to 50 bytes"));
    }
    let (first, count) = (args.port, args.nodes);
    let ranges = [first, args.admin_port].map(|from| from..from.saturating_add(count));
    if ranges[0].start < ranges[1].end && ranges[1].start < ranges[0].end {
        return Err(Fail::usage("--port and --admin-port overlap: choose others"));
    }
    fs::create_dir_all(out).map_err(|e| failed(&e))?;
    let env = Env::system().map_err(Fail::job)?;
    let wires = Kind::chosen(&args.wire);
    let mut folders = Vec::new();
    for n in 0..count {
        let data = out.join(format!("node{n}/data"));
        fs::create_dir_all(&data).map_err(|e| failed(&e))?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).map_err(|e| failed(&e))?;
        folders.push(data);
    }
    // The address of each node on each wire.
    let mut addresses: Vec<Vec<String>> = vec![Vec::new(); usize::from(count)];
    let mut fabric = Vec::new();
    for kind in &wires {
        let org = crate::config::DEFAULT_ORG;
        if kind.0.has_organisations() {
            let made = kind.0.keygen(&KeyPlan::new(&out.join(kind.name()), org, usize::from(count)), &env)?;
            let peers = made["peers"].as_array().into_iter().flatten().filter_map(Value::as_str);
            fabric = peers.map(|peer| absolute(Path::new(peer))).collect::<Result<_, _>>()?;
        }
        for (n, (data, known)) in folders.iter().zip(&mut addresses).enumerate() {
            let at = External { host: "127.0.0.1".into(), port: first + n as u16 };
            if let Some(file) = key_file(kind.name()) {
                let key = data.join(file);
                kind.0.keygen(&KeyPlan::new(&key, org, 1), &env)?;
                let forms =
                    kind.0.public_forms(&key, org, std::net::SocketAddr::from(([127, 0, 0, 1], at.port)))?;
                let url = forms["enode"].as_str().or(forms["url"].as_str()).unwrap_or_default();
                known.push(url.to_owned());
            } else {
                known.push(format!("{}://{at}", kind.name()));
            }
        }
    }
    for n in 0..usize::from(count) {
        let next = &addresses[(n + 1) % usize::from(count)];
        let text = file(args, n, &wires, next, fabric.get(n).map(PathBuf::as_path), &absolute(&folders[n])?);
        fs::write(out.join(format!("node{n}/node.toml")), text).map_err(|e| failed(&e))?;
    }
    let start = out.join("start.sh");
    fs::write(&start, script(count)).map_err(|e| failed(&e))?;
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).map_err(|e| failed(&e))?;
    let names: Vec<_> = wires.iter().map(|kind| kind.name()).collect();
    output.event(
        &json!({"event": "testnet", "nodes": count, "wires": names, "out": out.display().to_string(),
            "start": start.display().to_string()}),
        &format!("{count} nodes on {}: start them with {}", names.join(", "), start.display()),
    );
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Fail> {
    std::path::absolute(path).map_err(Fail::job)
}

fn file(args: &Args, n: usize, wires: &[Kind], next: &[String], key: Option<&Path>, data: &Path) -> String {
    let list = |texts: Vec<String>| {
        format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
    };
    let n16 = n as u16;
    let mut text = format!("# Node {n} of a local network made by `switchboard testnet`.\n[node]\n");
    text.push_str(&format!("wire = {}\n", list(wires.iter().map(|kind| kind.name().to_owned()).collect())));
    text.push_str(&format!("listen = {}\n", list(vec![format!("127.0.0.1:{}", args.port + n16)])));
    text.push_str(&format!("data = {}\n", quoted(&data.display().to_string())));
    text.push_str(&format!("admin = {}\n", quoted(&format!("127.0.0.1:{}", args.admin_port + n16))));
    text.push_str(&format!("peer = {}\n", list(next.to_vec())));
    if let Some(key) = key {
        text.push_str(&format!("key-file = {}\n", list(vec![format!("fabric={}", key.display())])));
    }
    if wires.iter().any(|kind| kind.name() == "comet") {
        text.push_str(&format!(
            "\n[comet]\nnetwork = {}\nmoniker = {}\n",
            quoted(&args.network),
            quoted(&format!("node{n}"))
        ));
    }
    text
}

/// Starts every node, and ends all of them when it is ended.
fn script(count: u16) -> String {
    format!(
        "#!/bin/sh\n# Starts the {count} nodes of this network; Ctrl-C, or the end of this script, ends them.\n\
         cd \"$(dirname \"$0\")\" || exit 1\n\
         switchboard=${{SWITCHBOARD:-switchboard}}\n\
         nodes=\n\
         trap 'trap - INT TERM; kill $nodes 2>/dev/null; wait; exit 0' INT TERM\n\
         n=0\n\
         while [ $n -lt {count} ]; do\n\
         \x20   \"$switchboard\" node --config node$n/node.toml >node$n/out.log 2>node$n/err.log &\n\
         \x20   nodes=\"$nodes $!\"\n\
         \x20   n=$((n + 1))\n\
         done\n\
         echo \"{count} nodes run: $nodes\"\n\
         wait\n"
    )
}
