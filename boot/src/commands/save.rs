//! `abide save`: a program, or a machine as it stands, as one file.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use lang::{Value, seedfile};
use persist::folder::{Scratch, sync_folder};
use persist::machine::{Machine, Reading};
use seed::object::Objects;
use seed::{Domain, Id, pack};
use serde_json::json;

use super::session;
use crate::cli::{Save, SeedFormat};
use crate::clocks::random;
use crate::driver::Running;
use crate::ports::console::Target;
use crate::programs;
use crate::report::{Failure, Paint};
use crate::seeds::{self, SEED_BYTES_MAX, Terms};
use crate::shown;
use crate::terminal::{Progress, say};

pub(crate) fn run(args: &Save) -> Result<ExitCode, Failure> {
    if !args.force {
        spare(&args.seed, &args.source)?;
    }
    let progress = Progress::of(format!("saving {}", args.source.display()));
    let terms = Terms { genesis: args.genesis.as_deref(), asks: &args.ask, limits: &args.limit };
    if args.format == SeedFormat::Plan {
        return save_plan(args, &terms);
    }
    let root = if args.source.is_dir() {
        terms.refuse_for(&args.source)?;
        save_machine(&args.source, &args.seed)?
    } else {
        let seed = seeds::read(&args.source, &terms)?;
        // Perhaps a seed file that somebody else wrote: what is saved can be booted from.
        let (_, root) = pack::read(&seed, SEED_BYTES_MAX, &|_| false, &mut |_, _| Ok(()))
            .map_err(|source| Failure::Unpack { path: args.source.clone(), source })?;
        write(&args.seed, &mut |out| out.write_all(&seed).map_err(Into::into))?;
        root
    };
    drop(progress);
    if args.json {
        let read = |source| Failure::Read { path: args.seed.clone(), source };
        let bytes = std::fs::metadata(&args.seed).map_err(read)?.len();
        let json = json!({ "v": shown::JSON_VERSION, "root": format!("{root:x}"), "bytes": bytes });
        writeln!(std::io::stdout(), "{json}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = args.seed.display().to_string();
    say(&format!("saved {}; next: abide boot MACHINE {shown}", Paint::of(&std::io::stderr()).strong(&shown)));
    Ok(ExitCode::SUCCESS)
}

/// Writes the value of a program as a PLAN seed.
fn save_plan(args: &Save, terms: &Terms<'_>) -> Result<ExitCode, Failure> {
    terms.refuse_for(&args.source)?;
    if args.source.is_dir() {
        return Err(Failure::NotOfTheLanguage { path: args.source.clone() });
    }
    let value = programs::value(&args.source)?;
    let pin = Value::pin(value.clone())
        .map_err(|_| Failure::NoPlan { path: args.source.clone(), why: "it is too large".to_owned() })?;
    let bytes = seedfile::write(&value)
        .map_err(|error| Failure::NoPlan { path: args.source.clone(), why: error.to_string() })?;
    write(&args.seed, &mut |out| out.write_all(&bytes).map_err(Into::into))?;
    let hash = if let Value::Pin(pin) = &pin { pin.hash().to_string() } else { String::new() };
    if args.json {
        let json = json!({ "v": shown::JSON_VERSION, "pin": hash, "bytes": bytes.len() });
        writeln!(std::io::stdout(), "{json}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = args.seed.display().to_string();
    say(&format!("saved {}, whose pin would be {hash}", Paint::of(&std::io::stderr()).strong(&shown)));
    Ok(ExitCode::SUCCESS)
}

/// As much of a file as it takes to see that it is a seed.
const SEED_START_BYTES: u64 = 16;

/// Refuses to write over anything but a seed.
fn spare(seed: &Path, source: &Path) -> Result<(), Failure> {
    let is_seed = || {
        let mut start = Vec::new();
        let read = File::open(seed).and_then(|file| file.take(SEED_START_BYTES).read_to_end(&mut start));
        read.is_ok() && pack::is_pack(&start)
    };
    match std::fs::metadata(seed) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(found) if found.is_file() && is_seed() => Ok(()),
        _ => Err(Failure::WouldReplace { path: seed.to_owned(), source_path: source.to_owned() }),
    }
}

/// What stands at the last checkpoint is saved as it is; what came after is first executed again in a copy, and checkpointed there.
fn save_machine(source: &Path, seed: &Path) -> Result<Id, Failure> {
    let reading = Reading::open(source)?;
    if reading.branch().checkpoint.end == reading.branch().end {
        return write_pack(seed, reading.branch().root, &reading.objects());
    }
    let scratch = scratch_beside(seed)?;
    let place = scratch.path().join("copy");
    reading.copy(&place, u64::from_le_bytes(random()?))?;
    drop(reading);
    checkpoint(&place)?;
    let copy = Reading::open(&place)?;
    write_pack(seed, copy.branch().root, &copy.objects())
}

/// Executes again what came after the last checkpoint of a machine, and makes one at its end.
fn checkpoint(path: &Path) -> Result<(), Failure> {
    let machine = Machine::open(path)?;
    let running = Running::checkpoint(machine, session::options(None, Target::Stderr)?)?;
    session::code(running.wait()?).map(drop)
}

fn write_pack(path: &Path, root: Id, objects: &dyn Objects) -> Result<Id, Failure> {
    write(path, &mut |out| pack::write((Domain::Object, root), objects, &|_| false, out).map(drop))?;
    Ok(root)
}

type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), pack::WriteError>;

/// Writes a file whole or not at all.
fn write(path: &Path, fill: Fill<'_>) -> Result<(), Failure> {
    let failed = |source| Failure::Write { path: path.to_owned(), source };
    let scratch = scratch_beside(path)?;
    let draft = scratch.path().join("draft");
    let mut out = BufWriter::new(File::create(&draft).map_err(failed)?);
    fill(&mut out).map_err(|error| match error {
        pack::WriteError::Write(source) => failed(source),
        pack::WriteError::Load(_) => error.into(),
    })?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&draft, path).and_then(|()| sync_folder(folder_of(path))).map_err(failed)
}

/// A folder in which a file can be made that is then moved to this place.
fn scratch_beside(path: &Path) -> Result<Scratch, Failure> {
    let nonce = u64::from_le_bytes(random()?);
    Scratch::begin(folder_of(path), nonce).map_err(|source| Failure::Write { path: path.to_owned(), source })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}
