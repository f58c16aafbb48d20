//! A node's settings as flags: one flag and one variable for each setting the node and its wires declare.

use crate::fail::Fail;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::PathBuf;
use switchboard_node::config::NodeConfig;
use switchboard_node::error::NodeError;
use switchboard_node::settings::{Form, Setting, Source, Values};
use switchboard_node::wires::Kits;

/// The gossip channel where none is given.
pub(crate) const DEFAULT_NETWORK: &str = switchboard_node::wires::comet::DEFAULT_NETWORK;
/// The MSP id where none is given.
pub(crate) const DEFAULT_ORG: &str = switchboard_node::wires::fabric::DEFAULT_ORG;

/// Other names of flags.
const ALIASES: [(&str, &str); 3] = [("access-allow", "allow"), ("access-deny", "deny"), ("seed", "seeds")];

/// The command that runs a seed.
const SEED: &str = "seed";
/// Settings of a node that a seed has no use for.
const NOT_OF_A_SEED: [&str; 9] =
    ["wire", "protocol", "cast", "cast-dir", "no-receive", "cast-max-bytes", "pex", "seed-mode", "monitor"];

/// A duration of a flag that is of no use as nothing.
pub(crate) fn some_time(text: &str) -> Result<std::time::Duration, String> {
    let given = switchboard_node::settings::parse_duration(text)?;
    if given.is_zero() { Err(format!("{text:?} is of no use: give more than 0")) } else { Ok(given) }
}

/// A duration of a flag: more than nothing, a day at most.
pub(crate) fn span(text: &str) -> Result<std::time::Duration, String> {
    let day = std::time::Duration::from_secs(86_400);
    let given = switchboard_node::settings::parse_duration(text)?;
    if given.is_zero() || given > day {
        Err(format!("{text:?} is not between 1ms and 1d"))
    } else {
        Ok(given)
    }
}

/// What was given as flags and variables, and the file to read beneath them.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    config: Option<PathBuf>,
    given: Values,
}

impl Given {
    /// What the arguments give of these settings.
    pub(crate) fn of(matches: &ArgMatches, settings: &[Setting]) -> Self {
        let mut given = Values::default();
        for setting in settings {
            let source = match matches.value_source(setting.name) {
                Some(ValueSource::CommandLine) => Source::Flag,
                Some(ValueSource::EnvVariable) => Source::Variable(setting.variable()),
                _ => continue,
            };
            let texts: Vec<_> =
                matches.get_many::<String>(setting.name).into_iter().flatten().cloned().collect();
            // Of a setting with one value the last one said counts.
            let texts =
                if setting.list { texts } else { texts.into_iter().next_back().into_iter().collect() };
            given.set(setting.name, texts, source);
        }
        Self { config: matches.get_one("config").cloned(), given }
    }

    /// Reads the file and lays environment and flags over it.
    pub(crate) fn values(self, settings: &[Setting]) -> Result<Values, Fail> {
        let Some(path) = &self.config else { return Ok(self.given) };
        let file = Values::from_file(path, settings)?;
        Ok(self.given.over(file))
    }
}

/// One flag and one variable for each setting, and the file.
pub(crate) fn augment(command: Command, settings: &[Setting]) -> Command {
    let config = Arg::new("config")
        .long("config")
        .env("SWITCHBOARD_CONFIG")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A TOML file with the same names as these flags, in sections");
    let mut command = command.arg(config);
    for setting in settings {
        let mut arg = Arg::new(setting.name)
            .long(setting.name)
            .env(setting.variable())
            .help(setting.help)
            .action(ArgAction::Append)
            .help_heading(heading(setting.section));
        if setting.list {
            arg = arg.value_delimiter(',');
        }
        if setting.form == Form::Switch {
            arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
        }
        // Fabric's own option names are many: the short help leaves them out.
        if setting.name.contains(|c: char| c.is_ascii_uppercase() || c == '.') {
            arg = arg.hide_short_help(true).help_heading("Options of gossip, by Fabric's names");
        }
        for (_, alias) in ALIASES.iter().filter(|(name, _)| *name == setting.name) {
            arg = arg.visible_alias(*alias);
        }
        command = command.arg(arg);
    }
    command
}

/// A node's settings, as given.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    given: Given,
    /// The command, for its help.
    command: &'static str,
}

impl clap::FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { given: Given::of(matches, &Kits::builtin().all_settings()), command: "node" })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        augment(command, &Kits::builtin().all_settings())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The heading of a section's flags.
fn heading(section: &str) -> String {
    match section {
        "node" => "Node".to_owned(),
        "limits" => "Limits".to_owned(),
        wire => format!("Wire {wire}"),
    }
}

impl Args {
    /// Runs this protocol and no other, whatever is given.
    pub(crate) fn only(mut self, protocol: &str) -> Self {
        self.given.given.set("protocol", vec![protocol.to_owned()], Source::Flag);
        self.command = "bench serve";
        self
    }

    /// Runs as a seed of the comet wire.
    pub(crate) fn seed(mut self) -> Result<Self, Fail> {
        let other = |wire: &&String| *wire != switchboard_comet::COMET;
        let given = &self.given.given;
        if let Some(wire) = given.texts("wire").iter().find(other).filter(|_| given.is_flag("wire")) {
            return Err(Fail::usage(format!(
                "--wire {wire}: a seed is of wire comet: see switchboard {SEED} --help"
            )));
        }
        self.given.given.set("wire", vec![switchboard_comet::COMET.to_owned()], Source::Flag);
        self.given.given.set("seed-mode", vec!["true".to_owned()], Source::Flag);
        self.command = SEED;
        Ok(self)
    }

    /// The command, for its help.
    pub(crate) fn command(&self) -> &'static str {
        self.command
    }

    /// Reads the file and lays environment and flags over it.
    pub(crate) fn values(self) -> Result<Values, Fail> {
        self.given.values(&Kits::builtin().all_settings())
    }

    /// Reads the file anew and lays over it what was given at the start.
    pub(crate) fn reread(&self) -> crate::operate::Reread {
        let args = self.clone();
        Box::new(move || {
            let (_, values) = args.clone().decide().map_err(|fail| fail.to_string())?;
            Ok(values)
        })
    }

    /// Decides everything, or says what is wrong and where to look.
    pub(crate) fn decide(self) -> Result<(NodeConfig, Values), Fail> {
        let command = self.command;
        let values = self.values()?;
        if command == SEED {
            needed_by_a_seed(&values)?;
        }
        let config = NodeConfig::decide(values.clone()).map_err(|error| named(error, command))?;
        Ok((config, values))
    }
}

/// The help of `seed` leaves out what a seed has no use for; a file or a script that says it all the same is taken.
pub(crate) fn of_a_seed(arg: Arg) -> Arg {
    let heading = arg.get_help_heading().unwrap_or_default();
    let of_another_wire = heading.starts_with("Wire ") && heading != "Wire comet";
    let no_use = of_another_wire || NOT_OF_A_SEED.contains(&arg.get_id().as_str());
    if no_use { arg.hide(true) } else { arg }
}

/// A seed that nobody reaches, or of a network that nobody named, is of no use.
fn needed_by_a_seed(values: &Values) -> Result<(), Fail> {
    let missing = [
        ("network", "which network it serves: add --network NAME"),
        ("listen", "where: add --listen IP:PORT"),
    ];
    match missing.into_iter().find(|(name, _)| !values.has(name)) {
        Some((_, what)) => {
            Err(Fail::usage(format!("a seed must be told {what}: see switchboard {SEED} --help")))
        }
        None => Ok(()),
    }
}

/// Names the flag or variable that a wrong value came from.
pub(crate) fn named(error: NodeError, command: &str) -> Fail {
    match error {
        NodeError::Setting { name, given: Source::Flag, text } => {
            Fail::usage(format!("--{name}: {text}: see switchboard {command} --help"))
        }
        NodeError::Setting { name, given: Source::Variable(variable), text } => {
            Fail::usage(format!("--{name}: {text} (from {variable}): see switchboard {command} --help"))
        }
        other => other.into(),
    }
}
