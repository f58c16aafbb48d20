//! Commands that ask and tell a running node, over the socket in its data folder or over HTTP.

pub(crate) mod events;
pub(crate) mod log;
pub(crate) mod peer;
pub(crate) mod peers;
pub(crate) mod reload;
pub(crate) mod status;
pub(crate) mod stop;

use crate::fail::Fail;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use switchboard_admin::Token;
use switchboard_admin::client::{Client, ClientError};
use tokio::time::timeout;

/// Which node, as given.
#[derive(clap::Args)]
struct Given {
    /// The node's data folder: it is asked over the socket there. Counts over --admin where both are variables.
    #[arg(long, env = "SWITCHBOARD_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The node's address, as it was given to its own --admin.
    #[arg(long, env = "SWITCHBOARD_ADMIN", value_name = "IP:PORT")]
    admin: Option<String>,
    /// File with the token that this address asks for.
    #[arg(long, env = "SWITCHBOARD_ADMIN_TOKEN", value_name = "FILE")]
    admin_token: Option<PathBuf>,
    /// How long the node may take, as in 10s.
    #[arg(long, default_value = "10s", value_parser = crate::config::span)]
    timeout: Duration,
}

/// Which node. A flag counts over a variable; of two variables the data folder counts, whose socket asks for no token.
pub(crate) struct At {
    given: Given,
    over_http: bool,
}

impl clap::FromArgMatches for At {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = Given::from_arg_matches(matches)?;
        let by_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        if by_flag("data") && by_flag("admin") {
            let text = "--data and --admin both say which node: give one of them";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        }
        let over_http = by_flag("admin") || (given.data.is_none() && given.admin.is_some());
        Ok(Self { given, over_http })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for At {
    fn augment_args(command: Command) -> Command {
        Given::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// An address to ask at. A node that serves everywhere is reached on this machine.
fn address(text: &str) -> Result<SocketAddr, Fail> {
    if text == "off" {
        return Err(Fail::usage(
            "--admin off: there is no HTTP to ask over, give the data folder with --data",
        ));
    }
    let wrong = |_| Fail::usage(format!("--admin {text:?} is not IP:PORT, as in 127.0.0.1:6060"));
    let mut addr: SocketAddr = text.parse().map_err(wrong)?;
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(addr)
}

impl At {
    pub(crate) fn client(&self) -> Result<Client, Fail> {
        let Given { data, admin, admin_token, .. } = &self.given;
        match (admin, data) {
            (Some(text), _) if self.over_http => {
                let token = admin_token.as_ref().map(|path| {
                    let path_shown = path.display();
                    Token::read(path)
                        .map_err(|why| Fail::usage(format!("cannot use --admin-token {path_shown}: {why}")))
                });
                Ok(Client::at_addr(address(text)?, token.transpose()?))
            }
            (_, Some(folder)) => Ok(Client::at_folder(folder)),
            _ => {
                Err(Fail::usage("which node? give its data folder with --data, or its address with --admin"))
            }
        }
    }

    /// How long the node may take.
    pub(crate) fn patience(&self) -> Duration {
        self.given.timeout
    }

    /// Asks within the time given.
    pub(crate) async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Fail> {
        let late = |_| {
            Fail::job(format!(
                "the node does not answer within {:?}: give it more with --timeout",
                self.patience()
            ))
        };
        timeout(self.patience(), asked).await.map_err(late)?.map_err(failed)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Fail> {
        self.within(self.client()?.get(path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Fail> {
        self.within(self.client()?.post(path, body)).await
    }
}

/// What was asked wrongly is bad use; all else is a job that failed.
fn failed(error: ClientError) -> Fail {
    match &error {
        ClientError::NoSocket(_) => Fail::job(format!("{error}: is it started with this --data?")),
        ClientError::Refused { code: 400, .. } => Fail::usage(error),
        _ => Fail::job(error),
    }
}

/// An answer as an event: the same object with a name.
pub(crate) fn event(name: &str, mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("event".into(), name.into());
    }
    value
}

/// A text field, or nothing.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1_000.0 {
            return if unit == "B" { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") };
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

/// Seconds as people read them: the two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(
            [0, 999, 1_500, 2_000_000, 3 * 10_u64.pow(15)].map(bytes),
            ["0 B", "999 B", "1.5 kB", "2.0 MB", "3000.0 TB"]
        );
        let spans = [0.4, 59.9, 61.0, 3_700.0, 90_000.0].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }
}
