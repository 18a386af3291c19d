//! What commands that run a machine share: settings, policy, and waiting for the end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use vm::engine::{Backend, Settings};
use vm::memory::Tracker;
use vm::prepare::Memo;
use vm::step_loop::Policy;

use super::compile;
use crate::cli::RunFlags;
use crate::clocks::cpu_meter;
use crate::driver::{Ended, Options};
use crate::ports::console::Target;
use crate::report::Failure;

/// Which tracker to use, instead of the best that works.
const TRACKER: &str = "ABIDE_TRACKER";

/// How guests are run on this host.
pub(crate) fn settings() -> Result<Settings, Failure> {
    Ok(Settings {
        backend: Backend::Cranelift,
        tracker: tracker()?.0,
        cache: cache_folder(),
        meter: cpu_meter(),
        elsewhere: Some(Arc::new(compile::in_a_child)),
        prepared: Memo::default(),
    })
}

/// The mechanism that finds written pages in this process, and why it is that one.
pub(crate) fn tracker() -> Result<(Tracker, String), Failure> {
    static SELECTED: OnceLock<(Tracker, String)> = OnceLock::new();
    let trackers = [Tracker::WriteProtect, Tracker::Compare];
    let wanted = match std::env::var_os(TRACKER).filter(|value| !value.is_empty()) {
        None => None,
        Some(value) => match trackers.into_iter().find(|tracker| value == *tracker.to_string()) {
            None => {
                let values = trackers.map(|tracker| tracker.to_string()).join(", ");
                return Err(Failure::Environment { name: TRACKER, value, values });
            }
            known => known,
        },
    };
    Ok(SELECTED.get_or_init(|| Tracker::select(wanted)).clone())
}

/// Options for a run.
pub(crate) fn options(flags: Option<RunFlags>, console: Target) -> Result<Options, Failure> {
    let halt_on_abort = flags.is_some_and(|flags| flags.halt_on_abort);
    let policy = Policy { halt_on_abort, ..Policy::default() };
    Ok(Options {
        settings: settings()?,
        policy,
        console,
        is_silent: false,
        stops_at_once: false,
        listens: flags.is_some(),
        watch: None,
    })
}

/// The exit code of a run that ended.
pub(crate) fn code(ended: Ended) -> Result<ExitCode, Failure> {
    match ended {
        Ended::Stopped => Ok(ExitCode::SUCCESS),
        Ended::Halted(halt) => Err(halt.into()),
    }
}

/// Where native code is kept: never in a machine's folder.
fn cache_folder() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("ABIDE_CACHE") {
        return (!given.is_empty()).then(|| PathBuf::from(given));
    }
    let home =
        || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home)?;
    Some(base.join("abide"))
}
