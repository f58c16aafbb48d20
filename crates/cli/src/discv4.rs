//! `discv4`: queries with version 4 of node discovery.

use crate::fail::Fail;
use crate::output::Output;
use crate::seek::{self, Common, Question};
use std::path::PathBuf;
use switchboard_discv::udp::{Bootnode, Version};

/// Ask nodes with discv4.
///
/// Example: switchboard discv4 ping enode://KEY@203.0.113.7:30303 --listen 0.0.0.0:0
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(clap::Subcommand)]
enum Job {
    /// Ask whether a node is there.
    #[command(after_help = "Example: switchboard discv4 ping enode://KEY@127.0.0.1:30303")]
    Ping {
        /// The node.
        node: Bootnode,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a node for its record, and search for the node when it does not answer.
    #[command(after_help = "Example: switchboard discv4 resolve enode://KEY@127.0.0.1:30303 --bootnode URL")]
    Resolve {
        /// The node.
        node: Bootnode,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a node for its record.
    #[command(after_help = "Example: switchboard discv4 request-enr enode://KEY@127.0.0.1:30303")]
    RequestEnr {
        /// The node.
        node: Bootnode,
        #[command(flatten)]
        common: Common,
    },
    /// Walk a network and write down who answers.
    #[command(after_help = "Example: switchboard discv4 crawl --bootnode URL --out nodes.json --timeout 30s")]
    Crawl {
        #[command(flatten)]
        common: Common,
        /// The file; one that is there is continued.
        #[arg(long)]
        out: PathBuf,
        /// Nodes asked at once.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
        parallel: u16,
        /// Ask each that answers over TCP, too, which chain it follows.
        #[arg(long)]
        eth: bool,
    },
    /// Listen and tell who is found.
    #[command(after_help = "Example: switchboard discv4 listen --bootnode URL --timeout 1m --json")]
    Listen {
        #[command(flatten)]
        common: Common,
    },
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let version = Version::V4;
    match args.job {
        Job::Ping { node, common } => seek::ask(&common, version, &node, Question::Ping, output).await,
        Job::Resolve { node, common } => seek::ask(&common, version, &node, Question::Resolve, output).await,
        Job::RequestEnr { node, common } => {
            seek::ask(&common, version, &node, Question::RequestEnr, output).await
        }
        Job::Crawl { common, out, parallel, eth } => {
            seek::crawl(&common, version, &out, parallel.into(), eth, output).await
        }
        Job::Listen { common } => seek::listen(&common, version, output).await,
    }
}
