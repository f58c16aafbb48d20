//! `nat`: what the router does for a node.

use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use switchboard::Env;
use switchboard_nat::{Mapper, NatConfig, NatSpec, Protocol};
use tokio::time::timeout;

/// How long the way back through the router may take.
const HAIRPIN: Duration = Duration::from_secs(3);

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Map a port, try to come back in through it, and unmap it.
    #[command(after_help = "Example: switchboard nat probe --nat upnp --json")]
    Probe(Args),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How to ask: any, upnp, pmp[:GATEWAY], pcp[:GATEWAY], extip:IP or stun[:HOST[:PORT]].
    #[arg(long, default_value = "any")]
    nat: NatSpec,
    /// The port to map (default: one the system gives).
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How long the router may take, as in 15s.
    #[arg(long, default_value = "15s", value_parser = crate::config::span)]
    timeout: std::time::Duration,
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Fail> {
    let Command::Probe(args) = command;
    let env = Env::system().map_err(Fail::job)?;
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.port));
    let listener = env.net().listen(at).await.map_err(|e| {
        Fail::usage(format!("cannot listen on port {}: {e}: choose another --port", args.port))
    })?;
    let port = listener.local_addr().port();
    let maps = !matches!(args.nat, NatSpec::ExtIp(_) | NatSpec::Stun { .. });
    let Some(mapper) = Mapper::start(args.nat, NatConfig::new(env.random())) else {
        return Err(Fail::usage("--nat none asks nobody: use any, upnp, pmp or pcp"));
    };
    let probe = async {
        let outside = match maps {
            true => {
                let mut outside = mapper.map(Protocol::Tcp, port, "switchboard probe").await.port();
                outside.wait_for(Option::is_some).await.ok().and_then(|port| *port)
            }
            false => Some(port),
        };
        let ip = mapper.external_ip().wait_for(Option::is_some).await.ok().and_then(|ip| *ip);
        ip.zip(outside)
    };
    let found = timeout(args.timeout, probe).await.ok().flatten();
    let Some((ip, outside)) = found else {
        mapper.stop().await;
        return Err(Fail::job(format!("no router answered within {:?}", args.timeout)));
    };
    let external = SocketAddr::new(ip, outside);
    output.event(
        &json!({"event": "mapped", "internal_port": port, "external": external.to_string(), "mapped": maps}),
        &format!("port {port} is {external} outside"),
    );
    let hairpin = timeout(HAIRPIN, async {
        let (out, back) = tokio::join!(env.net().connect(external), listener.accept());
        out.is_ok() && back.is_ok()
    });
    let hairpin = hairpin.await.unwrap_or(false);
    mapper.stop().await;
    let text =
        if hairpin { "the way back through the router works" } else { "no way back through the router" };
    output.event(
        &json!({"event": "probe", "external": external.to_string(), "hairpin": hairpin, "unmapped": maps}),
        text,
    );
    Ok(())
}
