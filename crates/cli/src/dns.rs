//! `dns`: reads and makes lists of nodes in DNS (EIP-1459).
//!
//! ```text
//!   DIR/nodes.json            the nodes, as crawl writes them
//!   DIR/enrtree-info.json     { "url": "enrtree://KEY@domain", "seq": 1, "signature": "…", "links": [], "lastModified": "…" }
//!   TXT file                  { "name": "text", … }: every record to put into DNS
//! ```
//! The folder and the TXT file are those of go-ethereum's tool (cmd/devp2p/dnscmd.go).

use crate::fail::Fail;
use crate::nodeset::{self, Entry, NodeSet};
use crate::output::Output;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use switchboard::Env;
use switchboard::net::names::{NameServers, WithNameServers};
use switchboard_discv::dns::{Link, Signed, Tree};
use switchboard_discv::udp::read_list;
use switchboard_enr::NodeKey;
use tokio::time::timeout;

/// Files of a list's folder.
const NODES: &str = "nodes.json";
const INFO: &str = "enrtree-info.json";
/// Largest `enrtree-info.json` that is read.
const MAX_INFO: u64 = 1 << 20;
/// Questions asked at once before the pace counts (go-ethereum p2p/dnsdisc/client.go).
const BURST: u32 = 10;

/// Read lists of nodes in DNS, and make them.
///
/// Example: switchboard dns sign nodes.json --key nodekey --domain nodes.example.org --seq 1 --out zone.json
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(clap::Subcommand)]
enum Job {
    /// Read a list to its end, and write it into a folder.
    #[command(after_help = "Example: switchboard dns sync enrtree://KEY@nodes.example.org ./list")]
    Sync {
        /// The list.
        #[arg(value_parser = Link::parse)]
        url: Link,
        /// The folder (default: the list's domain).
        folder: Option<PathBuf>,
        /// A name server to ask, as IP:PORT (default: the system's); may be repeated.
        #[arg(long)]
        dns_server: Vec<SocketAddr>,
        /// Questions a second, after ten at once.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rate: u32,
        /// How long the whole run may take, as in 30s or 10m.
        #[arg(long, default_value = "10m", value_parser = crate::config::some_time)]
        timeout: Duration,
    },
    /// Make a list of nodes and sign it: of a file's, written as TXT records by name; or of a folder's, in place.
    #[command(
        after_help = "Example: switchboard dns sign nodes.json --key nodekey --domain nodes.example.org --seq 1 \
        --out zone.json"
    )]
    Sign {
        /// The file of nodes, as crawl writes it, or a list's folder.
        nodes: PathBuf,
        /// The key that signs.
        #[arg(long)]
        key: PathBuf,
        /// Where the list will stand (default for a folder: where it stood, else the folder's name).
        #[arg(long)]
        domain: Option<String>,
        /// Its sequence number: higher than that of the list before (default for a folder: one more).
        #[arg(long)]
        seq: Option<u64>,
        /// Another list to link to, as enrtree://KEY@DOMAIN; may be repeated.
        #[arg(long, value_parser = Link::parse)]
        link: Vec<Link>,
        /// Where to write the TXT records, - for standard output (default for a folder: nowhere).
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Write the TXT records of a signed list's folder.
    #[command(name = "to-txt", after_help = "Example: switchboard dns to-txt ./list zone.json")]
    ToTxt {
        /// The folder.
        folder: PathBuf,
        /// The file (default, and -: standard output).
        out: Option<PathBuf>,
    },
}

/// What stands beside a list's nodes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Info {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(default)]
    seq: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    signature: String,
    /// Go writes an empty list of links as `null`, at times.
    #[serde(default)]
    links: Option<Vec<String>>,
    #[serde(rename = "lastModified", default = "nodeset::never")]
    modified: String,
}

impl Info {
    fn of(list: &Signed, links: &[Link], env: &Env) -> Self {
        let now = env.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            url: list.url.to_string(),
            seq: list.root.seq,
            signature: list.root.signature_text(),
            links: Some(links.iter().map(ToString::to_string).collect()),
            modified: nodeset::rfc3339(now),
        }
    }

    /// That of a folder; `None` where there is none yet.
    fn read(folder: &Path) -> Result<Option<Self>, Fail> {
        let path = folder.join(INFO);
        let failed = |e: &dyn std::fmt::Display| Fail::usage(format!("cannot read {}: {e}", path.display()));
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let info = serde_json::from_reader(std::io::Read::take(file, MAX_INFO));
        info.map(Some).map_err(|e| failed(&e))
    }

    fn write(&self, folder: &Path) -> Result<(), Fail> {
        let text = serde_json::to_vec_pretty(self).map_err(Fail::job)?;
        nodeset::replace(&folder.join(INFO), &text)
    }

    fn links(&self) -> Result<Vec<Link>, Fail> {
        let links = self.links.iter().flatten();
        links.map(|l| Link::parse(l).map_err(|e| Fail::usage(format!("link {l:?}: {e}")))).collect()
    }

    fn link(&self) -> Result<Option<Link>, Fail> {
        let parsed = (!self.url.is_empty()).then(|| Link::parse(&self.url)).transpose();
        parsed.map_err(|e| Fail::usage(format!("{INFO}: url {:?}: {e}", self.url)))
    }
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    match args.job {
        Job::Sync { url, folder, dns_server, rate, timeout } => {
            let env = match dns_server.is_empty() {
                true => env,
                false => {
                    let named = WithNameServers::new(&env, NameServers::new(dns_server));
                    env.clone().with_network(Arc::new(named))
                }
            };
            let folder = folder.unwrap_or_else(|| PathBuf::from(url.domain()));
            sync(url, &folder, Duration::from_secs(1) / rate, timeout, &env, output).await
        }
        Job::Sign { nodes, key, domain, seq, link, out } => {
            let wish = Wish { key, domain, seq, links: link, out };
            if nodes.is_dir() {
                sign_folder(&nodes, wish, &env, output)
            } else {
                sign_file(&nodes, wish, output)
            }
        }
        Job::ToTxt { folder, out } => to_txt(&folder, out.as_deref(), output),
    }
}

async fn sync(
    url: Link,
    folder: &Path,
    every: Duration,
    within: Duration,
    env: &Env,
    output: &Output,
) -> Result<(), Fail> {
    let shown = url.to_string();
    let contents = timeout(within, read_list(url.clone(), every, BURST, env)).await;
    let contents = contents
        .map_err(|_| Fail::job(format!("{shown} was not read within {within:?}: give it more --timeout")))?
        .map_err(|error| Fail::job(format!("{shown}: {error}")))?;
    let (seq, signature) = (contents.root.seq, contents.root.signature_text());
    let mut set = NodeSet::default();
    set.nodes.extend(contents.records.iter().map(|r| (hex::encode(r.key().node_id()), Entry::untried(r))));
    let count = contents.records.len();
    let list = Tree::make(seq, contents.records, contents.links.clone()).map_err(Fail::job)?;
    // Another maker may branch in another way; then the folder's owner signs it anew.
    let whole = list.signed_before(url, &signature);
    let info = match &whole {
        Ok(list) => Info::of(list, &contents.links, env),
        Err(_) => Info {
            url: shown.clone(),
            seq,
            signature,
            links: Some(contents.links.iter().map(ToString::to_string).collect()),
            modified: nodeset::never(),
        },
    };
    std::fs::create_dir_all(folder)
        .map_err(|e| Fail::usage(format!("cannot make the folder {}: {e}", folder.display())))?;
    set.write(&folder.join(NODES))?;
    info.write(folder)?;
    let (links, out) = (contents.links.len(), folder.display().to_string());
    output.event(
        &json!({"event": "synced", "url": shown, "seq": seq, "nodes": count, "links": links, "out": out}),
        &format!("{count} nodes and {links} links of sequence {seq} are in {out}"),
    );
    Ok(())
}

/// What `sign` was told.
struct Wish {
    key: PathBuf,
    domain: Option<String>,
    seq: Option<u64>,
    links: Vec<Link>,
    out: Option<PathBuf>,
}

/// A signed list, and how many nodes are in it.
fn sign(nodes: &Path, key: &Path, domain: &str, seq: u64, links: Vec<Link>) -> Result<(Signed, usize), Fail> {
    let set = NodeSet::read(nodes)?;
    let given = set.nodes.len();
    let records: Vec<_> = set.nodes.values().filter_map(Entry::parsed).collect();
    let count = records.len();
    if count < given {
        return Err(Fail::usage(format!("{} of {given} records are no signed records", given - count)));
    }
    let key = NodeKey::load(key).map_err(Fail::usage)?;
    let signed = Tree::make(seq, records, links)
        .map_err(Fail::usage)?
        .sign(&key, domain)
        .map_err(|error| Fail::usage(format!("--domain {domain:?}: {error}")))?;
    Ok((signed, count))
}

fn tell(signed: &Signed, count: usize, out: Option<&Path>, output: &Output) -> Result<(), Fail> {
    if out.is_some_and(nodeset::is_stdout) {
        return print(signed, output);
    }
    let zone = signed.to_txt();
    let (url, seq, records) = (signed.url.to_string(), signed.root.seq, zone.len());
    let mut fields = json!({"event": "signed", "url": url, "seq": seq, "nodes": count, "txt": records});
    let mut place = String::new();
    if let Some(out) = out {
        let text = serde_json::to_vec_pretty(&zone).map_err(Fail::job)?;
        nodeset::replace(out, &text)?;
        fields["out"] = out.display().to_string().into();
        place = format!(" are in {}", out.display());
    }
    output.event(&fields, &format!("{url}\n{count} nodes in {records} TXT records{place}"));
    Ok(())
}

/// The TXT records on standard output.
fn print(signed: &Signed, output: &Output) -> Result<(), Fail> {
    let zone = signed.to_txt();
    let text = serde_json::to_string_pretty(&zone).map_err(Fail::job)?;
    output.event(&json!({"event": "txt", "url": signed.url.to_string(), "records": zone}), &text);
    Ok(())
}

fn sign_file(nodes: &Path, wish: Wish, output: &Output) -> Result<(), Fail> {
    let missing = |what: &str| Fail::usage(format!("a file of nodes says nothing of its list: add {what}"));
    let domain = wish.domain.ok_or_else(|| missing("--domain NAME"))?;
    let seq = wish.seq.ok_or_else(|| missing("--seq NUMBER"))?;
    let out = wish.out.ok_or_else(|| missing("--out FILE"))?;
    let (signed, count) = sign(nodes, &wish.key, &domain, seq, wish.links)?;
    tell(&signed, count, Some(&out), output)
}

fn sign_folder(folder: &Path, wish: Wish, env: &Env, output: &Output) -> Result<(), Fail> {
    let info = Info::read(folder)?.unwrap_or_default();
    let stood = info.link()?.map(|link| link.domain().to_owned());
    let name = || {
        let whole = folder.canonicalize().ok()?;
        Some(whole.file_name()?.to_string_lossy().into_owned())
    };
    let domain = wish.domain.or(stood).or_else(name);
    let domain = domain.ok_or_else(|| Fail::usage("the list stands nowhere: add --domain NAME"))?;
    let mut links = info.links()?;
    links.extend(wish.links);
    let seq = wish.seq.unwrap_or(info.seq.saturating_add(1));
    let (signed, count) = sign(&folder.join(NODES), &wish.key, &domain, seq, links.clone())?;
    Info::of(&signed, &links, env).write(folder)?;
    tell(&signed, count, wish.out.as_deref(), output)
}

fn to_txt(folder: &Path, out: Option<&Path>, output: &Output) -> Result<(), Fail> {
    let unsigned = || {
        let shown = folder.display();
        Fail::usage(format!(
            "the list in {shown} is not signed as it is: run switchboard dns sign {shown} --key KEY"
        ))
    };
    let info = Info::read(folder)?.ok_or_else(unsigned)?;
    let url = info.link()?.ok_or_else(unsigned)?;
    let set = NodeSet::read(&folder.join(NODES))?;
    let records: Vec<_> = set.nodes.values().filter_map(Entry::parsed).collect();
    let count = records.len();
    let list = Tree::make(info.seq, records, info.links()?).map_err(Fail::usage)?;
    let signed = list.signed_before(url, &info.signature).map_err(|_| unsigned())?;
    match out {
        Some(out) => tell(&signed, count, Some(out), output),
        None => print(&signed, output),
    }
}
