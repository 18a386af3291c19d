//! `abide start`: run until interrupted.

use std::net::SocketAddr;
use std::process::ExitCode;

use persist::machine::Machine;

use super::hosted::{Host, Hosted, last};
use super::session;
use crate::cli::{RunFlags, Start};
use crate::dashboard::Dashboard;
use crate::driver::Options;
use crate::ports::console::Target;
use crate::report::Failure;
use crate::terminal::{is_watched, say};

pub(crate) fn run(args: &Start) -> Result<ExitCode, Failure> {
    let host = Host::new()?;
    run_until_interrupted(host, Machine::open(&args.machine)?, args.run)
}

/// Runs a machine that is open until it is interrupted or halts.
pub(crate) fn start(machine: Machine, flags: RunFlags) -> Result<ExitCode, Failure> {
    run_until_interrupted(Host::new()?, machine, flags)
}

fn run_until_interrupted(host: Host, machine: Machine, flags: RunFlags) -> Result<ExitCode, Failure> {
    let shown = machine.folder().path().display().to_string();
    let seq = last(machine.branch().end);
    let dashboard = flags.dashboard.map(|address| open_dashboard(address, &machine)).transpose()?;
    let options =
        Options { watch: dashboard.as_ref().map(Dashboard::watch), ..session::options(Some(flags), Target::Stdout)? };
    let hosted = Hosted::begin(host, machine, options, flags.scrub)?;
    if is_watched() {
        say(&format!("{shown} runs at seq {seq}; stop it with ^C; talk to it with: abide send {shown} ..."));
    }
    session::code(hosted.run()?)
}

/// Opens a machine's dashboard, before anything is done: where it cannot be opened, the machine is not started.
fn open_dashboard(address: SocketAddr, machine: &Machine) -> Result<Dashboard, Failure> {
    let path = machine.folder().path();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let dashboard = Dashboard::open(address, &name).map_err(|source| Failure::Dashboard { address, source })?;
    say(&format!("dashboard: http://{}/", dashboard.address()));
    Ok(dashboard)
}
