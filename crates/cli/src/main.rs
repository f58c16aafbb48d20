//! The `switchboard` command: run a node, make keys, look at peers, measure, and see it all work.
//!
//! Exit codes: 0 the job was done, 1 it failed, 2 bad use. Results go to standard output (with `--json`
//! one object a line), logs to standard error.

mod admin;
mod bench;
mod bootnode;
mod comet;
mod completions;
mod config;
mod configuration;
mod discv;
mod dns;
mod fabric;
mod fail;
mod id;
mod keygen;
mod log;
mod nat;
mod node;
mod nodeset;
mod operate;
mod output;
mod ping;
mod ring;
mod rlpx;
mod seek;
mod testnet;
mod up;
mod wires;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use fail::Fail;
use output::Output;
use std::process::ExitCode;

/// One peer-to-peer stack for Ethereum devp2p, CometBFT and Hyperledger Fabric networks.
#[derive(Parser)]
#[command(name = "switchboard", version, propagate_version = true)]
struct Args {
    /// Results as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
    /// What to log to standard error, as in `info` or `switchboard::session=debug`.
    /// Counts over RUST_LOG (default: warn).
    #[arg(long, global = true, env = "SWITCHBOARD_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look.
    #[arg(
        long,
        global = true,
        env = "SWITCHBOARD_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: log::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a node key, or an organisation's keys and certificates.
    #[command(after_help = "Examples:\n  switchboard keygen --wire devp2p --out nodekey\n  \
        switchboard keygen --wire comet --out node_key.json\n  \
        switchboard keygen --wire fabric --out org1 --org Org1MSP --peers 2 --admins 1 --host peer.example.org")]
    Keygen(keygen::Args),
    /// Show every public form of a key.
    #[command(
        after_help = "Examples:\n  switchboard id --wire devp2p --key nodekey --at 203.0.113.7:30303\n  \
        switchboard id --wire fabric --key org1/peer0 --org Org1MSP"
    )]
    Id(id::Args),
    /// Run a node.
    #[command(
        after_help = "Examples:\n  switchboard node --listen 0.0.0.0:30303 --data ./data --protocol cast\n  \
        switchboard node --wire devp2p --listen 127.0.0.1:0 --protocol bench --json\n  \
        switchboard node --config node.toml --peer comet://ID@203.0.113.7:26656\n\n\
        A configuration file has the same names: wire = [\"comet\"], listen = [\"0.0.0.0:26656\"], max-peers = 40"
    )]
    Node(Box<config::Args>),
    /// Look at configurations: write one down, check one, see what counts.
    #[command(
        subcommand,
        after_help = "Examples:\n  switchboard config default > node.toml\n  \
        switchboard config check node.toml\n  switchboard config show --config node.toml"
    )]
    Config(configuration::Command),
    /// Print a shell's completions.
    #[command(after_help = "Example: switchboard completions bash > /etc/bash_completion.d/switchboard")]
    Completions(completions::CompletionsArgs),
    /// Write manual pages.
    #[command(after_help = "Examples:\n  switchboard man --out man1\n  switchboard man | man -l -")]
    Man(completions::ManArgs),
    /// Write folders, keys, configuration files and a start script for a local network of several processes.
    #[command(after_help = "Example: switchboard testnet --nodes 4 --wire comet --out ./net")]
    Testnet(testnet::Args),
    /// Say how a running node does.
    #[command(
        after_help = "Examples:\n  switchboard status --data ./data\n  switchboard status --admin 127.0.0.1:6060 --json"
    )]
    Status(admin::status::Args),
    /// List the peers of a running node.
    #[command(
        after_help = "Examples:\n  switchboard peers --data ./data\n  switchboard peers --data ./data --watch --every 2s"
    )]
    Peers(admin::peers::Args),
    /// Change whom a running node keeps, trusts and bans.
    #[command(subcommand, after_help = "Example: switchboard peer ban 203.0.113.7 --for 7d --data ./data")]
    Peer(admin::peer::Command),
    /// Follow what happens in a running node.
    #[command(after_help = "Example: switchboard events --data ./data --json")]
    Events(admin::events::Args),
    /// Set what a running node logs, or show it.
    #[command(after_help = "Example: switchboard log switchboard::switch=debug --data ./data")]
    Log(admin::log::Args),
    /// Let a running node read keys, certificates, trust, access lists and limits anew.
    #[command(after_help = "Example: switchboard reload --data ./data")]
    Reload(admin::reload::Args),
    /// Stop a running node.
    #[command(after_help = "Example: switchboard stop --data ./data")]
    Stop(admin::stop::Args),
    /// Run a seed node of a CometBFT network: answer whoever asks, hang up, crawl.
    #[command(
        mut_args = config::of_a_seed,
        after_help = "Example:\n  switchboard seed --network my-chain --listen 0.0.0.0:26656 --data ./seed --seeds ID@203.0.113.7:26656"
    )]
    Seed(Box<config::Args>),
    /// Look at CometBFT nodes, networks and address books.
    #[command(subcommand, after_help = "Example: switchboard comet crawl ID@203.0.113.7:26656")]
    Comet(comet::Command),
    /// See what the router does for a node.
    #[command(subcommand, after_help = "Example: switchboard nat probe")]
    Nat(nat::Command),
    /// Run a bootnode: discovery of Ethereum nodes and nothing else.
    #[command(after_help = "Examples:\n  switchboard bootnode --listen 0.0.0.0:30303 --data ./boot\n  \
        switchboard bootnode --listen 127.0.0.1:0 --discovery v5 --json\n  \
        switchboard bootnode --listen 0.0.0.0:30303 --external 203.0.113.7:30303 --bootnode enr:…")]
    Bootnode(bootnode::Args),
    /// Ask nodes with discv4: ping, resolve, request-enr, crawl, listen.
    #[command(
        after_help = "Examples:\n  switchboard discv4 ping enode://KEY@203.0.113.7:30303 --listen 0.0.0.0:0\n  \
        switchboard discv4 crawl --bootnode URL --out nodes.json --timeout 30s"
    )]
    Discv4(discv::V4),
    /// Ask nodes with discv5: ping, resolve, request-enr, crawl, listen, talk.
    #[command(after_help = "Examples:\n  switchboard discv5 ping enr:… --listen 0.0.0.0:0\n  \
        switchboard discv5 talk enr:… --protocol echo --message 00ff\n  \
        switchboard discv5 crawl --bootnode URL --out nodes.json --timeout 30s")]
    Discv5(discv::V5),
    /// Look at a file of crawled nodes, or choose from it.
    #[command(after_help = "Examples:\n  switchboard nodeset info nodes.json\n  \
        switchboard nodeset filter nodes.json --dialable --limit 100 --out some.json")]
    Nodeset(nodeset::Args),
    /// Shake hands with an Ethereum node over TCP and show its hello.
    #[command(after_help = "Example:\n  switchboard rlpx ping enode://KEY@203.0.113.7:30303")]
    Rlpx(rlpx::Args),
    /// Make lists of nodes for DNS.
    #[command(
        after_help = "Example:\n  switchboard dns sign nodes.json --key nodekey --domain nodes.example.org --seq 1 --out zone.json"
    )]
    Dns(dns::Args),
    /// Shake hands with a node, say who it is, and measure round trips.
    #[command(after_help = "Examples:\n  switchboard ping enode://KEY@203.0.113.7:30303 --count 5\n  \
        switchboard ping comet://ID@203.0.113.7:26656\n  \
        switchboard ping fabric://203.0.113.7:7051 --key-file fabric=org1/peer0 --org Org1MSP")]
    Ping(ping::Args),
    /// Measure a node that serves the protocol `bench`.
    #[command(after_help = "Examples:\n  switchboard bench serve --listen 127.0.0.1:30303\n  \
        switchboard bench echo URL --count 10000 --size 1024 --in-flight 64\n  \
        switchboard bench bulk URL --bytes 1000000000 --size 65536\n  \
        switchboard bench handshakes URL --count 1000 --parallel 4")]
    Bench(bench::Args),
    /// Start a local network on every wire, cast a file through it, and prove that every node got it.
    #[command(
        after_help = "Examples:\n  switchboard up\n  switchboard up --nodes 6 --wire devp2p --cast big.iso --keep"
    )]
    Up(up::Args),
    /// Take part in a Hyperledger Fabric network, or look at one.
    #[command(
        after_help = "Examples:\n  switchboard fabric peer --listen 127.0.0.1:7051 --key-file fabric=org1/peer0 --channel mychannel \\\n    \
        --verify-blocks hash\n  switchboard fabric ledger ./data"
    )]
    Fabric(fabric::Args),
}

/// Messages come and go by the megabyte: this one keeps their pages for a moment, and a thread of its own gives back what
/// nobody has used for longer (its settings: `.cargo/config.toml`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return bad_arguments(&error),
    };
    let output = Output::new(args.json);
    if let Err(fail) = log::start(args.log.as_deref(), args.log_format) {
        return output.failed(&fail);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.failed(&Fail::job(format!("cannot start: {error}"))),
    };
    // On a thread of the runtime, beside the tasks it talks to: every wake-up across threads costs microseconds.
    let job = runtime.spawn(async move { run(args.command, &output).await });
    let result = runtime.block_on(job).unwrap_or_else(|broken| Err(Fail::job(broken)));
    // Whatever a task still holds is not worth waiting for.
    runtime.shutdown_background();
    output::finish();
    match result {
        Ok(()) => match output::lost() {
            None => ExitCode::SUCCESS,
            Some(error) => output.failed(&Fail::job(format!("cannot write to standard output: {error}"))),
        },
        Err(fail) => output.failed(&fail),
    }
}

async fn run(command: Command, output: &Output) -> Result<(), Fail> {
    match command {
        Command::Keygen(args) => keygen::run(&args, output),
        Command::Id(args) => id::run(&args, output),
        Command::Node(args) => node::run(*args, output).await,
        Command::Config(command) => configuration::run(command, output),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
        Command::Testnet(args) => testnet::run(&args, output),
        Command::Status(args) => admin::status::run(&args, output).await,
        Command::Peers(args) => admin::peers::run(&args, output).await,
        Command::Peer(command) => admin::peer::run(command, output).await,
        Command::Events(args) => admin::events::run(&args, output).await,
        Command::Log(args) => admin::log::run(&args, output).await,
        Command::Reload(args) => admin::reload::run(&args, output).await,
        Command::Stop(args) => admin::stop::run(&args, output).await,
        Command::Seed(args) => node::run(args.seed()?, output).await,
        Command::Comet(command) => comet::run(command, output).await,
        Command::Nat(command) => nat::run(command, output).await,
        Command::Bootnode(args) => bootnode::run(args, output).await,
        Command::Discv4(args) => discv::v4(args, output).await,
        Command::Discv5(args) => discv::v5(args, output).await,
        Command::Rlpx(args) => rlpx::run(args, output).await,
        Command::Dns(args) => dns::run(args, output).await,
        Command::Nodeset(args) => nodeset::run(&args, output),
        Command::Ping(args) => ping::run(args, output).await,
        Command::Bench(args) => bench::run(args, output).await,
        Command::Up(args) => up::run(args, output).await,
        Command::Fabric(args) => fabric::run(args, output).await,
    }
}

/// Help and version as they are; anything else in one line, with where to look.
fn bad_arguments(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // Not all of them need be text.
    let given: Vec<_> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let said = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command given".to_owned(),
        _ => with_source(one_line(&error.to_string()), &given),
    };
    let output = Output::new(given.iter().any(|a| a == "--json"));
    output.failed(&Fail::usage(format!("{said}: see {} --help", command_of(&given))))
}

/// What the argument parser says, without its heading, its usage and its own hint at help.
fn one_line(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
    let lines: Vec<_> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    let said = lines.join(" ");
    said.strip_prefix("error: ").unwrap_or(&said).to_owned()
}

/// Names the variable that a value came from, where no flag gave it.
fn with_source(said: String, given: &[String]) -> String {
    let ends = |c: char| !(c.is_ascii_lowercase() || c == '-');
    let flag = said.split("--").nth(1).and_then(|rest| rest.split(ends).next()).unwrap_or_default();
    let variable = format!("SWITCHBOARD_{}", flag.replace('-', "_").to_uppercase());
    let flagged = given.iter().any(|arg| arg.split('=').next() == Some(&format!("--{flag}")));
    match std::env::var_os(&variable) {
        Some(_) if !flagged => format!("{said} (from {variable})"),
        _ => said,
    }
}

/// The command whose help speaks of these arguments, as in `switchboard bench echo`.
fn command_of(given: &[String]) -> String {
    let (mut path, root) = ("switchboard".to_owned(), Args::command());
    let mut at = &root;
    for word in given {
        if let Some(next) = at.find_subcommand(word) {
            path = format!("{path} {word}");
            at = next;
        }
    }
    path
}
