//! The `abide` command: arguments, terminal, exit codes, control socket, ports. All human I/O, all clocks and all randomness are here.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the crate that talks to people")]

pub mod cli;
mod commands;

pub mod clocks;
pub mod control;
pub mod dashboard;
pub mod driver;
mod injection;
pub mod ports;
pub mod programs;
pub mod report;
pub mod seeds;
mod shown;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = EnvFilter::try_from_env("ABIDE_LOG").unwrap_or_else(|_| EnvFilter::new("warn,machine=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| terminal::Above)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    match commands::run(&cli.command) {
        Ok(code) => code,
        Err(failure) => failure.tell(&cli.command),
    }
}
