//! What is generated from the command line's one declaration: completions, manual page, docs/cli.md.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::report::Failure;

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "abide", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man() -> Result<ExitCode, Failure> {
    clap_mangen::Man::new(Cli::command()).render(&mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn markdown() -> Result<ExitCode, Failure> {
    io::stdout().lock().write_all(reference_text().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// docs/cli.md: every command's own help.
fn reference_text() -> String {
    let mut text =
        String::from("# The command line\n\nGenerated from the declaration of the commands; a test compares.\n");
    let mut command = Cli::command().term_width(100);
    command.build();
    let _ = write!(text, "\n## abide\n\n```\n{}```\n", trimmed(&command.render_long_help().to_string()));
    for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let name = sub.get_name().to_owned();
        let _ = write!(text, "\n## abide {name}\n\n```\n{}```\n", trimmed(&sub.render_long_help().to_string()));
    }
    text
}

fn trimmed(help: &str) -> String {
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned() + "\n"
}
