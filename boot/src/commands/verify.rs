//! `abide verify`: in a child, since damage may end whoever reads it by a signal.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;

use persist::machine::Reading;
use persist::objects::load;
use persist::verify::{Depth, verify};
use seed::image::Image;
use seed::{Domain, LoadError};
use serde_json::json;
use vm::body::SharedObjects;
use vm::engine::Engine;
use vm::replay::{Replayed, replay};

use super::session;
use super::standing::Standing;
use crate::cli::{HowMuch, Verify};
use crate::driver::{RunError, exit_on_lost_page};
use crate::report::Failure;
use crate::shown;
use crate::terminal::Progress;

pub(crate) fn run(args: &Verify) -> Result<ExitCode, Failure> {
    if args.in_process {
        return check(args).map_err(|failure| with_standing(failure, args));
    }
    let this = std::env::current_exe().map_err(Failure::Host)?;
    let status =
        Command::new(this).args(std::env::args_os().skip(1)).arg("--in-process").status().map_err(Failure::Host)?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        (None, signal) => {
            let died = Failure::ChildDied { path: args.machine.clone(), signal: signal.unwrap_or(0) };
            Err(with_standing(died, args))
        }
    }
}

/// Adds to what is damaged what still stands.
fn with_standing(failure: Failure, args: &Verify) -> Failure {
    // What is executed differently is whole.
    if args.tersely || !failure.is_damage() || matches!(failure, Failure::Replay { .. }) {
        return failure;
    }
    match Standing::of(&args.machine) {
        Some(standing) => Failure::Damaged { source: Box::new(failure), standing: Box::new(standing) },
        None => failure,
    }
}

fn check(args: &Verify) -> Result<ExitCode, Failure> {
    let reading = Reading::open(&args.machine)?;
    let depth = match args.depth {
        HowMuch::Fast => Depth::Fast,
        HowMuch::Full => Depth::Full,
    };
    let end = reading.branch().end;
    let progress = Progress::of(format!("checking {}", args.machine.display()));
    let checked = verify(&reading, depth, &mut |done| {
        progress.at(format!("{} of {end} records, {} objects", done.records, done.reachable + done.objects));
    });
    drop(progress);
    let checked = checked?;
    let replayed = if args.replay { Some(replay_all(&reading, &args.machine)?) } else { None };
    let branch = reading.branch();
    let mut out = io::stdout().lock();
    if args.json {
        let json = json!({
            "v": shown::JSON_VERSION, "ok": true, "end": branch.end.0, "root": format!("{:x}", branch.root),
            "batches": checked.batches, "records": checked.records, "reachable": checked.reachable,
            "objects": checked.objects, "replayed": replayed.map(|replayed| replayed.records),
        });
        writeln!(out, "{json}")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "{} is whole: {} records in {} batches, {} objects needed, {} read; root {:x}",
        args.machine.display(),
        checked.records,
        checked.batches,
        checked.reachable,
        checked.objects,
        branch.root
    )?;
    if let Some(replayed) = replayed {
        writeln!(out, "replayed {} records: every output and every root is the same", replayed.records)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn replay_all(reading: &Reading, path: &Path) -> Result<Replayed, Failure> {
    let root = reading.branch().checkpoint.root;
    let bytes = load(reading.store(), Domain::Object, &root)?;
    let image = Image::decode(&bytes).map_err(|source| LoadError::Malformed { id: root, source })?;
    let settings = session::settings()?;
    let objects: SharedObjects = Arc::new(reading.objects());
    let lost = exit_on_lost_page(path);
    let progress = Progress::of(format!("replaying {}", path.display()));
    let end = reading.branch().end;
    let run = || {
        replay(&settings, &objects, reading.store(), reading.branch(), &lost, &mut |done| {
            progress.at(format!("{} of {end} records", done.end));
        })
    };
    let outcome = thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(Engine::thread_stack_bytes(&image.limits));
        let thread = builder.spawn_scoped(scope, run).map_err(Failure::Host)?;
        thread.join().map_err(|_| Failure::Run(RunError::Thread))
    })?;
    drop(progress);
    outcome.map_err(|source| Failure::Replay { path: path.to_owned(), source })
}
