//! `keygen`: a new key where none was.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::Kind;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use switchboard::Env;
use switchboard_node::kit::{KeyPlan, RenewPlan};

/// Make a node key, or for fabric an organisation: a CA and peers' folders. Never writes over anything.
///
/// Examples: switchboard keygen --wire devp2p --out nodekey;
/// switchboard keygen --wire fabric --out org1 --org Org1MSP --peers 2
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The wire: devp2p (geth's hex file), comet (CometBFT's node_key.json) or fabric (MSP and TLS folders).
    #[arg(long)]
    wire: Kind,
    /// The file or, for fabric, the folder to make.
    #[arg(long, required_unless_present = "renew")]
    out: Option<PathBuf>,
    /// Renew the certificates of this member in place, from the CA that issued them (fabric).
    #[arg(long, value_name = "MEMBER-FOLDER", conflicts_with_all = ["out", "org", "peers", "users", "admins", "host", "node_ous"])]
    renew: Option<PathBuf>,
    /// The organisation's folder with its CAs (default: the one above the member's).
    #[arg(long, requires = "renew", value_name = "FOLDER")]
    authority: Option<PathBuf>,
    /// Make new keys, too.
    #[arg(long, requires = "renew")]
    new_key: bool,
    /// Renew the TLS certificate only: the identity stays the same.
    #[arg(long, requires = "renew")]
    tls_only: bool,
    /// MSP id of the organisation (fabric; default: Org1MSP).
    #[arg(long)]
    org: Option<String>,
    /// Peers of the organisation (fabric; default: 1).
    #[arg(long)]
    peers: Option<usize>,
    /// Users of the organisation (fabric).
    #[arg(long)]
    users: Option<usize>,
    /// Administrators of the organisation (fabric).
    #[arg(long)]
    admins: Option<usize>,
    /// A name or address that peers are dialled by, beside loopback; may be repeated (fabric).
    #[arg(long, value_name = "NAME|IP", value_delimiter = ',')]
    host: Vec<String>,
    /// Certificates tell roles: peer, client, admin (fabric).
    #[arg(long)]
    node_ous: bool,
    /// Days that certificates are valid, up to 36500 (fabric; default: ten years).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let fabrics = [
        ("--org", args.org.is_some()),
        ("--peers", args.peers.is_some()),
        ("--users", args.users.is_some()),
        ("--admins", args.admins.is_some()),
        ("--host", !args.host.is_empty()),
        ("--node-ous", args.node_ous),
        ("--days", args.days.is_some()),
        ("--renew", args.renew.is_some()),
    ];
    if let Some((flag, _)) = fabrics.iter().find(|(_, given)| *given && !args.wire.0.has_organisations()) {
        return Err(Fail::usage(format!("{flag} is for wire fabric: leave it out for {}", args.wire)));
    }
    if let Some(member) = &args.renew {
        return renew(args, member, &env, output);
    }
    let Some(place) = &args.out else { return Err(Fail::usage("say where with --out")) };
    if crate::nodeset::is_stdout(place) {
        return print(args, &env, output);
    }
    if place.exists() {
        let out = place.display();
        return Err(Fail::usage(format!(
            "{out} is there already: choose another --out, or remove it yourself"
        )));
    }
    let folder = place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(Fail::usage(format!("there is no folder {folder}: make it, or choose another --out")));
    }
    let org = args.org.as_deref().unwrap_or(crate::config::DEFAULT_ORG);
    let make = |at: &Path| {
        let plan = KeyPlan::new(at, org, args.peers.unwrap_or(1)).with(|plan| {
            plan.users = args.users.unwrap_or(0);
            plan.admins = args.admins.unwrap_or(0);
            plan.hosts.clone_from(&args.host);
            plan.node_ous = args.node_ous;
            plan.days = args.days;
        });
        Ok(args.wire.0.keygen(&plan, &env)?)
    };
    // An organisation's folder is put in its place whole by its maker.
    let mut made = if args.wire.0.has_organisations() { make(place)? } else { placed(folder, place, make)? };
    let id = made["id"].as_str().unwrap_or(org).to_owned();
    if let Some(fields) = made.as_object_mut() {
        fields.insert("event".into(), "key".into());
        fields.insert("wire".into(), args.wire.name().into());
        fields.insert("file".into(), Value::from(place.display().to_string()));
    }
    let peers = made["peers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let folders = peers.map(|peer| format!("\npeer folder {peer}")).collect::<String>();
    output.event(&json!(made), &format!("{} key {} for {id}{folders}", args.wire, place.display()));
    Ok(())
}

/// The key on standard output, and nowhere else.
fn print(args: &Args, env: &Env, output: &Output) -> Result<(), Fail> {
    if args.wire.0.has_organisations() {
        return Err(Fail::usage("an organisation is a folder, which - cannot be: name one with --out"));
    }
    let scratch = switchboard_node::data::scratch()?;
    let file = scratch.path().join("key");
    let mut made = args.wire.0.keygen(&KeyPlan::new(&file, "", 1), env)?;
    let key = std::fs::read_to_string(&file).map_err(Fail::job)?;
    if let Some(fields) = made.as_object_mut() {
        fields.insert("event".into(), "key".into());
        fields.insert("wire".into(), args.wire.name().into());
        fields.insert("key".into(), key.trim_end().into());
    }
    output.event(&made, key.trim_end());
    Ok(())
}

/// Renews a member's certificates in place.
fn renew(args: &Args, member: &Path, env: &Env, output: &Output) -> Result<(), Fail> {
    let plan = RenewPlan::new(member).with(|plan| {
        plan.authority.clone_from(&args.authority);
        (plan.new_key, plan.tls_only, plan.days) = (args.new_key, args.tls_only, args.days);
    });
    let mut renewed = args.wire.0.renew(&plan, env)?;
    let what: Vec<_> =
        renewed["renewed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let text = format!(
        "{} of {} renewed: a running node takes it over with `switchboard reload`, or SIGHUP",
        what.join(" and "),
        member.display()
    );
    if let Some(fields) = renewed.as_object_mut() {
        fields.insert("event".into(), "renewed".into());
        fields.insert("wire".into(), args.wire.name().into());
    }
    output.event(&renewed, &text);
    Ok(())
}

/// Makes a file beside its place, then gives it its name, which nobody may have taken meanwhile.
fn placed(folder: &Path, out: &Path, make: impl FnOnce(&Path) -> Result<Value, Fail>) -> Result<Value, Fail> {
    // A folder of a name that nobody can guess, for its owner only; it goes with what is in it.
    let apart = tempfile::Builder::new().prefix(".switchboard-").tempdir_in(folder);
    let apart = apart.map_err(|e| Fail::usage(format!("cannot write in {}: {e}", folder.display())))?;
    let part = apart.path().join("key");
    make(&part).and_then(|made| {
        // Unlike a rename, a hard link never takes the place of another file.
        let linked = std::fs::hard_link(&part, out).and_then(|()| std::fs::File::open(folder)?.sync_all());
        let failed = |e| Fail::usage(format!("cannot write {}: {e}: choose another --out", out.display()));
        linked.map(|()| made).map_err(failed)
    })
}
