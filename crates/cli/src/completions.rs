//! `completions` and `man`: what a shell and a manual know of this command.

use crate::fail::Fail;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Print a shell's completions.
#[derive(clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Write manual pages, one for each command.
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// The folder to write them to; - prints the page of `switchboard` itself.
    #[arg(long, default_value = "-")]
    out: PathBuf,
}

/// Text for whoever reads standard output; one that went away wanted no more.
fn print(text: &[u8]) -> Result<(), Fail> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fail::job(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Fail> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Args::command(), "switchboard", &mut text);
    print(&text)
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Fail> {
    let mut command = crate::Args::command();
    command.build();
    if args.out == Path::new("-") {
        return print(&page(&command)?);
    }
    let failed = |e: &dyn std::fmt::Display| {
        Fail::usage(format!("cannot write to {}: {e}: choose another --out", args.out.display()))
    };
    std::fs::create_dir_all(&args.out).map_err(|e| failed(&e))?;
    pages(&command, "switchboard", &mut |name, page| {
        std::fs::write(args.out.join(format!("{name}.1")), page).map_err(|e| failed(&e))
    })
}

fn page(command: &Command) -> Result<Vec<u8>, Fail> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text).map_err(Fail::job)?;
    Ok(text)
}

/// The pages of a command and all below it, `switchboard-peer-add` and so on.
fn pages(
    command: &Command,
    name: &str,
    put: &mut impl FnMut(&str, Vec<u8>) -> Result<(), Fail>,
) -> Result<(), Fail> {
    put(name, page(&command.clone().name(name.to_owned()))?)?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        pages(below, &format!("{name}-{}", below.get_name()), put)?;
    }
    Ok(())
}
