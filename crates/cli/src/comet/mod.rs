//! `comet`: looks at CometBFT nodes, networks and address books.

mod addrbook;
mod crawl;
mod pex;
mod status;

use crate::fail::Fail;
use crate::output::Output;
use crate::wires;
use std::sync::Arc;
use std::time::Duration;
use switchboard::text::printable;
use switchboard::{Candidate, Env};
use switchboard_comet::pex::ask::Asker;
use switchboard_comet::{CometConfig, NodeKey};
use tokio::time::timeout;

/// How long one node may take to shake hands, and to answer.
const NODE_LIMIT: Duration = Duration::from_secs(10);

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Ask a node who it is.
    #[command(after_help = "Example: switchboard comet status ID@203.0.113.7:26656 --json")]
    Status(status::Args),
    /// Ask a node whom it knows.
    #[command(after_help = "Example: switchboard comet pex ID@203.0.113.7:26656")]
    Pex(pex::Args),
    /// Ask a node whom it knows, then those, and so on, and list who was reached.
    #[command(after_help = "Example: switchboard comet crawl ID@203.0.113.7:26656 --most 500 --json")]
    Crawl(crawl::Args),
    /// Look at an address book, check it, bring addresses in or out.
    #[command(subcommand, after_help = "Example: switchboard comet addrbook show addrbook.json")]
    Addrbook(addrbook::Command),
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Fail> {
    match command {
        Command::Status(args) => status::run(args, output).await,
        Command::Pex(args) => pex::run(args, output).await,
        Command::Crawl(args) => crawl::run(args, output).await,
        Command::Addrbook(command) => addrbook::run(command, output),
    }
}

/// Reads the address of a node of this wire.
fn whom(url: &str) -> Result<Candidate, Fail> {
    let (kind, whom) = wires::parse(url)?;
    if kind.name() == switchboard_comet::COMET {
        return Ok(whom);
    }
    Err(Fail::usage(format!("{} is of wire {kind}: give ID@HOST:PORT", printable(url))))
}

/// What we say of ourselves, with a key for this once. The network is the node's own.
fn config(env: &Env) -> Result<CometConfig, Fail> {
    let key = NodeKey::from_seed(&env.random()).map_err(Fail::job)?;
    Ok(CometConfig::new(Arc::new(key), crate::config::DEFAULT_NETWORK))
}

/// Shakes hands, to ask.
async fn asker(whom: &Candidate, env: &Env) -> Result<Asker, String> {
    let config = config(env).map_err(|fail| fail.to_string())?;
    let connect = async {
        let connection = switchboard::wire::connect(env, whom).await?;
        Asker::connect(connection, whom, &config, env).await
    };
    match timeout(NODE_LIMIT, connect).await {
        Ok(asker) => asker.map_err(|error| printable(&error.to_string())),
        Err(_) => Err(format!("no handshake within {} s", NODE_LIMIT.as_secs())),
    }
}
