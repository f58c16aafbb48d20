//! `fabric`: a member of a Fabric network, and what can be seen of one.

mod inspect;
mod ledger;
mod member;
mod view;

use crate::fail::Fail;
use crate::output::Output;
use clap::Subcommand;

/// Take part in a Hyperledger Fabric network, or look at one.
///
/// Example: switchboard fabric peer --listen 127.0.0.1:7051 --key-file fabric=org1/peer0 --channel mychannel
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join channels and store their blocks.
    #[command(
        after_help = "Examples:\n  switchboard fabric peer --listen 0.0.0.0:7051 --org Org1MSP --key-file fabric=org1/peer0 \\\n    \
        --channel mychannel --bootstrap peer1:7051 --orderer OrdererMSP=ordererOrg/msp --data ./data\n  \
        switchboard fabric peer --listen 127.0.0.1:0 --key-file fabric=org1/peer1 --channel mychannel \\\n    \
        --verify-blocks hash --blocks-from ./blocks --json"
    )]
    Peer(Box<member::Args<true>>),
    /// Watch members, heights and leaders, and store nothing.
    #[command(
        after_help = "Example:\n  switchboard fabric observe --listen 127.0.0.1:0 --key-file fabric=org1/peer2 \\\n    \
        --channel mychannel --bootstrap 127.0.0.1:7051 --json"
    )]
    Observe(Box<member::Args<false>>),
    /// Show a block or a gossip message as JSON.
    #[command(
        after_help = "Examples:\n  switchboard fabric inspect 7.block\n  switchboard fabric inspect envelope.bin --json"
    )]
    Inspect(inspect::Args),
    /// Show what a peer's data folder holds, and check it.
    #[command(
        after_help = "Examples:\n  switchboard fabric ledger ./data\n  switchboard fabric ledger ./data --channel mychannel --json"
    )]
    Ledger(ledger::Args),
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    match args.command {
        Command::Peer(args) => member::run(*args, output).await,
        Command::Observe(args) => member::run(*args, output).await,
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Ledger(args) => ledger::run(&args, output),
    }
}
