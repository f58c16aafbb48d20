//! `config`: the configuration file as it could be, whether one is right, and what counts where it was given.

use crate::config::{Args as NodeArgs, named};
use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use switchboard_node::config::NodeConfig;
use switchboard_node::operate::configuration;
use switchboard_node::settings::{Form, Values};
use switchboard_node::wires::Kits;

/// Look at configurations: write one down, check one, see what counts.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print a configuration file with every setting, its meaning and its default.
    #[command(after_help = "Example: switchboard config default > node.toml")]
    Default,
    /// Check a configuration file.
    #[command(after_help = "Example: switchboard config check node.toml")]
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show what a node started with these flags, this environment and this file would be told, and by whom.
    #[command(after_help = "Example: switchboard config show --config node.toml --max-peers 20")]
    Show(Box<NodeArgs>),
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fail> {
    match command {
        Command::Default => {
            let text = template();
            output.event(&json!({"event": "config", "toml": text}), text.trim_end());
        }
        Command::Check { file } => {
            let values = Values::from_file(&file, &Kits::builtin().all_settings())?;
            let count = values.iter().count();
            NodeConfig::decide(values).map_err(|error| named(error, "config check"))?;
            let text = format!("{} is right: {count} settings", file.display());
            output.event(
                &json!({"event": "config_checked", "file": file.display().to_string(), "settings": count}),
                &text,
            );
        }
        Command::Show(args) => {
            let (_, values) = args.decide()?;
            let told = configuration(&Kits::builtin().all_settings(), &values);
            let mut shown = told.clone();
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("event".into(), "config".into());
            }
            output.event(&shown, &table(&values));
        }
    }
    Ok(())
}

fn table(values: &Values) -> String {
    let mut out = String::new();
    for setting in Kits::builtin().all_settings() {
        let given = values.iter().find(|(name, _)| *name == setting.name).map(|(_, given)| given);
        let (value, from) = match given {
            Some(given) => (given.texts.join(", "), given.source.to_string()),
            None => (setting.usual().unwrap_or("-").to_owned(), "default".to_owned()),
        };
        let _ = writeln!(out, "{:<8} {:<24} {value:<28} {from}", setting.section, setting.name);
    }
    out.trim_end().to_owned()
}

/// Every setting, commented out.
fn template() -> String {
    let mut out = String::from(
        "# A Switchboard node. Every setting is a flag of `switchboard node` and a variable of the environment, too;\n\
         # a flag counts over a variable, a variable over this file. `switchboard config check FILE` checks it.\n",
    );
    let mut section = "";
    for setting in Kits::builtin().all_settings() {
        if setting.section != section {
            section = setting.section;
            let _ = write!(out, "\n[{section}]\n");
        }
        let example = match (setting.form, setting.list) {
            (_, true) => "[]".to_owned(),
            (Form::Switch, _) => "false".to_owned(),
            (Form::Number, _) => {
                setting.usual().and_then(|usual| usual.parse::<u64>().ok()).unwrap_or(0).to_string()
            }
            (Form::Bytes, _) => "\"1GB\"".to_owned(),
            (Form::Duration, _) => "\"10s\"".to_owned(),
            _ => "\"\"".to_owned(),
        };
        let _ = write!(out, "# {}\n# {} = {example}\n", setting.help, setting.name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template is a configuration, also with every line of it in force that has a value of its form.
    #[test]
    fn the_template_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, template()).unwrap();
        assert_eq!(Values::from_file(&file, &Kits::builtin().all_settings()).unwrap().iter().count(), 0);
        let names: Vec<_> = Kits::builtin().all_settings().iter().map(|setting| setting.name).collect();
        let lines = template();
        let keys =
            lines.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = ").map(|(name, _)| name));
        assert_eq!(keys.collect::<Vec<_>>(), names);
        let all = lines.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if names.iter().any(|name| setting.starts_with(&format!("{name} = "))) => setting,
            _ => line,
        });
        std::fs::write(&file, all.collect::<Vec<_>>().join("\n")).unwrap();
        Values::from_file(&file, &Kits::builtin().all_settings()).unwrap();
    }
}
