//! `abide status`: where a machine durably stands, never where it has run ahead to.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use persist::branch::Branch;
use persist::folder::{Folder, Holder, Lock};
use persist::machine::{MachineError, Reading};
use persist::objects::load;
use persist::store::Store;
use seed::Domain;
use seed::image::Image;
use serde_json::{Value as Json, json};
use vm::ledger::Ledger;

use super::hosted::last;
use super::session;
use crate::cli::Status;
use crate::control::{Client, Scrubbing};
use crate::report::{Failure, Paint};
use crate::shown;

pub(crate) fn run(args: &Status) -> Result<ExitCode, Failure> {
    let reading = Reading::open(&args.machine)?;
    let branch = reading.branch();
    let holder = Lock::holder(&args.machine).map_err(|error| Failure::Machine(error.into()))?;
    let usage = reading.store().usage().map_err(MachineError::from)?;
    let bytes = load(reading.store(), Domain::Object, &branch.checkpoint.root)?;
    let image =
        Image::decode(&bytes).map_err(|source| seed::LoadError::Malformed { id: branch.checkpoint.root, source })?;
    let objects = reading.objects();
    let process = image.processes.first();
    let (requests, replies, effects) = match process {
        Some(process) => {
            let ledger = Ledger::stored(&process.ledger);
            let count = |length: usize| length as u64;
            (
                count(ledger.requests(&objects)?.len()),
                count(ledger.replies(&objects)?.len()),
                count(ledger.effects(&objects)?.len()),
            )
        }
        None => (0, 0, 0),
    };
    let memory: u64 = process
        .and_then(|process| process.state.as_ref())
        .map_or(0, |state| state.memories.iter().map(|memory| memory.pages * 4096).sum());
    let state = match holder {
        Some(holder) => State::Held(ask(reading.folder()), holder),
        None => State::Stopped,
    };
    let here = session::tracker()?;
    let tracker = match &state {
        State::Stopped => Some((here.0.to_string(), here.1)),
        State::Held(Heard::Up(tracker, _), _) => Some(tracker.clone()),
        State::Held(..) => None,
    };
    let scrub = match &state {
        State::Held(Heard::Up(_, scrub), _) => Some(scrub.clone()),
        _ => None,
    };
    let identity = reading.folder().identity();
    let moved = (identity.host, identity.device, identity.inode)
        != (branch.epoch.host, branch.epoch.device, branch.epoch.inode);
    let mut out = io::stdout().lock();
    if args.json {
        let json = json!({
            "v": shown::JSON_VERSION,
            "machine": shown::hex(&branch.epoch.machine), "incarnation": shown::hex(&branch.epoch.incarnation),
            "epoch": branch.epoch.number, "engine": branch.epoch.engine, "copied": moved,
            "running": state.holder().map(|holder| json!({ "pid": holder.pid, "host": holder.host })),
            "starting": matches!(state, State::Held(Heard::Starting, _)),
            "end": branch.end.0, "root": format!("{:x}", branch.root), "batch": format!("{:x}", branch.batch),
            "time_ns": branch.time.0,
            "checkpoint": { "end": branch.checkpoint.end.0, "root": format!("{:x}", branch.checkpoint.root) },
            "open_requests": requests, "owed_replies": replies, "undelivered_effects": effects,
            "memory_bytes": memory, "store_bytes": usage.file_bytes, "store_used_bytes": usage.used_bytes,
            "grants": shown::grants_json(&image.grants),
            "tracker": tracker.as_ref().map(|(name, _)| name), "tracker_why": tracker.as_ref().map(|(_, why)| why),
            "scrub": scrub.as_ref().map(scrub_json),
        });
        writeln!(out, "{json}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::of(&out);
    let row = |name: &str, value: String| format!("{} {value}\n", paint.dim(&format!("{name:<12}")));
    let mut text = String::new();
    text += &row("machine", format!("{} ({state})", args.machine.display()));
    text += &row(
        "id",
        format!(
            "{}, incarnation {}",
            &shown::hex(&branch.epoch.machine)[..16],
            &shown::hex(&branch.epoch.incarnation)[..16]
        ),
    );
    text += &row("durable", format!("seq {} at {}", last(branch.end), shown::time(branch.time.0)));
    text += &row("root", format!("{:x}", branch.root));
    text += &row("checkpoint", checkpoint(branch));
    text += &row(
        "epoch",
        format!(
            "{} since seq {}, {}, preparation {}",
            branch.epoch.number, branch.epoch_first, branch.epoch.engine, branch.epoch.preparation
        ),
    );
    if moved {
        text += &row("", "this folder is a copy: its next start begins a new epoch".to_owned());
    }
    text += &row(
        "open",
        format!(
            "{}, {} owed, {} undelivered (at the checkpoint)",
            shown::count(requests, "request"),
            shown::count(replies, "reply"),
            shown::count(effects, "effect")
        ),
    );
    text += &row("memory", shown::bytes(memory));
    text +=
        &row("store", format!("{}, {} of it in use", shown::bytes(usage.file_bytes), shown::bytes(usage.used_bytes)));
    if let Some(scrub) = &scrub {
        text += &row("scrub", scrub_line(scrub));
        scrub.findings.iter().for_each(|finding| text += &row("damage", finding.clone()));
        if !scrub.findings.is_empty() {
            text += &row("", format!("stop it soon, then: abide repair {}", args.machine.display()));
        }
    }
    text += &row("grants", shown::grants_line(&image.grants));
    text += &row(
        "tracker",
        match (&state, &tracker) {
            (State::Stopped, Some((tracker, why))) => format!("{tracker}, if it is started here: {why}"),
            (_, Some((tracker, why))) => format!("{tracker}: {why}"),
            (_, None) => "not known: the process that has it does not say".to_owned(),
        },
    );
    write!(out, "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn scrub_json(scrub: &Scrubbing) -> Json {
    json!({
        "mib_per_s": scrub.mib_per_s, "checked": scrub.done, "of": scrub.total, "passes": scrub.passes,
        "last_pass_ns": (scrub.passes > 0).then_some(scrub.last_pass), "findings": scrub.findings,
    })
}

/// How far the background check is.
fn scrub_line(scrub: &Scrubbing) -> String {
    if scrub.mib_per_s == 0 {
        return "off".to_owned();
    }
    let now = match scrub.total {
        0 => "nothing is being checked now".to_owned(),
        total => format!("{} of {} checked, at {} MiB/s", scrub.done, shown::count(total, "entry"), scrub.mib_per_s),
    };
    match scrub.passes {
        0 => format!("{now}; no whole pass yet since it was started"),
        passes => {
            let passes = shown::count(passes, "time");
            format!("{now}; checked whole {passes}, the last ended {}", shown::time(scrub.last_pass))
        }
    }
}

/// Where the last checkpoint is, and how much comes after it.
fn checkpoint(branch: &Branch) -> String {
    let at = format!("seq {}, root {}", last(branch.checkpoint.end), branch.checkpoint.root);
    match branch.end.0 - branch.checkpoint.end.0 {
        0 => at,
        behind => format!("{at}; {} since", shown::count(behind, "record")),
    }
}

/// Who has the machine, and what it says.
enum State {
    Stopped,
    Held(Heard, Holder),
}

/// What the process that has a machine says of it.
enum Heard {
    /// It is up, finds written pages in this way, for this reason, and checks what is stored.
    Up((String, String), Scrubbing),
    Starting,
    /// It does not listen: a copy in the making, another version.
    Nothing,
}

impl State {
    fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Stopped => None,
            Self::Held(_, holder) => Some(holder),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Held(Heard::Starting, holder) => write!(f, "starting in {holder}"),
            Self::Held(_, holder) => write!(f, "running in {holder}"),
        }
    }
}

/// How long the process that has a machine may take to say how it is.
const ASK_PATIENCE: Duration = Duration::from_millis(500);

fn ask(folder: &Folder) -> Heard {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Heard::Nothing };
    let mut is_starting = false;
    let mut starting = || is_starting = true;
    let connected = runtime.block_on(async {
        let connect = Client::connect(folder, &mut starting);
        tokio::time::timeout(ASK_PATIENCE, connect).await
    });
    match connected {
        Ok(Ok(client)) => {
            let tracker = (client.tracker().0.to_owned(), client.tracker().1.to_owned());
            Heard::Up(tracker, client.scrub().clone())
        }
        Err(_) if is_starting => Heard::Starting,
        _ => Heard::Nothing,
    }
}
