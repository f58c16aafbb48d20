//! `discv4` and `discv5`: queries with a version of node discovery.

use crate::fail::Fail;
use crate::output::Output;
use crate::seek::{self, Common, Question};
use std::path::PathBuf;
use switchboard_discv::udp::{Bootnode, Version};

/// Ask nodes with discv4.
///
/// Example: switchboard discv4 ping enode://KEY@203.0.113.7:30303 --listen 0.0.0.0:0
#[derive(clap::Args)]
pub(crate) struct V4 {
    #[command(subcommand)]
    job: Job,
}

/// Ask nodes with discv5.
///
/// Example: switchboard discv5 ping enr:… --listen 0.0.0.0:0
#[derive(clap::Args)]
pub(crate) struct V5 {
    #[command(subcommand)]
    job: JobOfV5,
}

/// What both versions can be asked.
#[derive(clap::Subcommand)]
enum Job {
    /// Ask whether a node is there.
    #[command(after_help = "Example, as with discv5: switchboard discv4 ping enode://KEY@127.0.0.1:30303")]
    Ping {
        /// The node.
        node: Bootnode,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a node for its record, and search for the node when it does not answer.
    #[command(
        after_help = "Example, as with discv4: switchboard discv5 resolve enode://KEY@127.0.0.1:30303 --bootnode URL"
    )]
    Resolve {
        /// The node.
        node: Bootnode,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a node for its record.
    #[command(
        after_help = "Example, as with discv5: switchboard discv4 request-enr enode://KEY@127.0.0.1:30303"
    )]
    RequestEnr {
        /// The node.
        node: Bootnode,
        #[command(flatten)]
        common: Common,
    },
    /// Walk a network and write down who answers.
    #[command(
        after_help = "Example, as with discv5: switchboard discv4 crawl --bootnode URL --out nodes.json --timeout 30s"
    )]
    Crawl {
        #[command(flatten)]
        common: Common,
        /// The file, or - for standard output; one that is there is continued.
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
    #[command(
        after_help = "Example, as with discv4: switchboard discv5 listen --bootnode URL --timeout 1m --json"
    )]
    Listen {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Subcommand)]
enum JobOfV5 {
    #[command(flatten)]
    Both(Job),
    /// Send a request of a protocol above discovery; prints the answer in hex.
    #[command(after_help = "Example: switchboard discv5 talk enr:… --protocol echo --message 00ff")]
    Talk {
        /// The node.
        node: Bootnode,
        /// The protocol's name.
        #[arg(long)]
        protocol: String,
        /// The message, in hex.
        #[arg(long, default_value = "")]
        message: String,
        #[command(flatten)]
        common: Common,
    },
}

pub(crate) async fn v4(args: V4, output: &Output) -> Result<(), Fail> {
    both(args.job, Version::V4, output).await
}

pub(crate) async fn v5(args: V5, output: &Output) -> Result<(), Fail> {
    match args.job {
        JobOfV5::Both(job) => both(job, Version::V5, output).await,
        JobOfV5::Talk { node, protocol, message, common } => {
            let message = hex::decode(&message)
                .map_err(|_| Fail::usage(format!("--message {message:?} is not hex, as in 00ff")))?;
            let question = Question::Talk { protocol: protocol.into_bytes(), message };
            seek::ask(&common, Version::V5, &node, question, output).await
        }
    }
}

async fn both(job: Job, version: Version, output: &Output) -> Result<(), Fail> {
    let (node, common, question) = match job {
        Job::Ping { node, common } => (node, common, Question::Ping),
        Job::Resolve { node, common } => (node, common, Question::Resolve),
        Job::RequestEnr { node, common } => (node, common, Question::RequestEnr),
        Job::Crawl { common, out, parallel, eth } => {
            return seek::crawl(&common, version, &out, parallel.into(), eth, output).await;
        }
        Job::Listen { common } => return seek::listen(&common, version, output).await,
    };
    seek::ask(&common, version, &node, question, output).await
}
