//! What commands that run a machine share: settings, policy, and waiting for the end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use vm::engine::{Backend, Settings};
use vm::memory::Tracker;
use vm::step_loop::Policy;

use super::compile;
use crate::cli::RunFlags;
use crate::clocks::cpu_meter;
use crate::driver::{Ended, Options};
use crate::ports::console::Target;
use crate::report::Failure;

/// How guests are run on this host.
pub(crate) fn settings() -> Settings {
    Settings {
        backend: Backend::Cranelift,
        tracker: tracker().0,
        cache: cache_folder(),
        meter: cpu_meter(),
        elsewhere: Some(Arc::new(compile::in_a_child)),
    }
}

/// The mechanism that finds dirty pages here, and why.
pub(crate) fn tracker() -> (Tracker, String) {
    let wanted = match std::env::var("ABIDE_TRACKER").as_deref() {
        Ok("compare") => Some(Tracker::Compare),
        Ok("write-protect") => Some(Tracker::WriteProtect),
        _ => None,
    };
    Tracker::select(wanted)
}

/// Options for a run.
pub(crate) fn options(flags: Option<RunFlags>, console: Target) -> Options {
    let halt_on_abort = flags.is_some_and(|flags| flags.halt_on_abort);
    Options { settings: settings(), policy: Policy { halt_on_abort, ..Policy::default() }, console, is_silent: false }
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
