//! `tokenwatch completions`: scripts that complete commands in a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;

/// `tokenwatch completions …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "tokenwatch", &mut script);
    crate::output::line(String::from_utf8(script)?.trim_end());
    Ok(ExitCode::SUCCESS)
}
