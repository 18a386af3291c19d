//! `abide repair`: a new machine made of what stands of a damaged one, verified, and then put in its place. The damaged one is kept.
//!
//! Nothing is patched. Until the new machine is whole, verified and durable, nothing of the old one changes, however this process ends; then the two
//! folders are exchanged.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;

use persist::folder::{Folder, FolderError, Lock, LockError, NewFolder, free_name, settle_leftovers};
use persist::head::{self, HeadError};
use persist::journal::Commit;
use persist::machine::{MachineError, NewMachine};
use persist::salvage::rebuild::{take, take_image, take_log, take_objects};
use persist::salvage::survey::{Boundary, Kept, Plan, Span, Survey};
use persist::salvage::{Salvage, SalvageError};
use persist::store::lmdb::DATA_FILE;
use seed::image::Image;
use seed::object::Link;
use seed::record::{Batch, OutputsHash, Record};
use seed::{Domain, LoadError, Seq};
use serde_json::json;
use vm::body::{BodyError, SharedObjects};
use vm::engine::{Engine, Settings};
use vm::remake::remake;

use super::hosted::last;
use super::session;
use super::standing::{self, Standing};
use crate::cli::Repair;
use crate::clocks::{random, wall_clock};
use crate::driver::{RunError, exit_on_lost_page, new_epoch};
use crate::report::{DAMAGE_SIGNALS, Failure, LOST, Told};
use crate::seeds::SEED_BYTES_MAX;
use crate::shown;
use crate::terminal::{Progress, say};

pub(crate) fn run(args: &Repair) -> Result<ExitCode, Failure> {
    let place = real_place(&args.machine)?;
    let in_use = |source: LockError| Failure::Repair {
        path: args.machine.clone(),
        source: Box::new(MachineError::from(source).into()),
    };
    let held = if args.dry_run {
        match Lock::holder(&place).map_err(in_use)? {
            Some(holder) => return Err(in_use(LockError::Held { path: args.machine.clone(), holder })),
            None => None,
        }
    } else {
        if place.exists() {
            refuse_what_is_no_machine(&place, &args.machine)?;
        }
        settle_leftovers(&place).map_err(|source| replacing(&args.machine, source))?;
        refuse_what_is_no_machine(&place, &args.machine)?;
        Some(Lock::acquire(&place).map_err(in_use)?)
    };
    refuse_what_is_no_machine(&place, &args.machine)?;
    if flaw(&place, "checking", &args.machine)?.is_none() {
        return nothing_to_repair(args);
    }
    let mut salvage = standing::read(&place).map_err(|source| reading(&args.machine, source))?;
    let _seed = args.from.as_deref().map(|other| add(&mut salvage, other, &place)).transpose()?.flatten();
    let survey = Survey::of(&mut salvage);
    let Some(plan) = survey.plan.clone() else {
        return Err(Failure::Unrepairable {
            path: args.machine.clone(),
            standing: Box::new(Standing::told(&survey, &args.machine)),
            is_with_other: args.from.is_some(),
        });
    };
    if args.dry_run {
        return tell(
            args,
            &survey,
            &Made { end: plan.end, kept: plan.kept, executed: executed(&plan), ..Made::default() },
        );
    }
    let made = make(args, &place, &mut salvage, &survey, plan)?;
    drop(held);
    tell(args, &survey, &made)
}

/// What was made.
struct Made {
    end: Boundary,
    kept: Kept,
    /// Records executed again.
    executed: u64,
    /// Objects taken over.
    objects: u64,
    /// Why less was made than what stands would have allowed.
    why_less: Option<String>,
    /// Where the damaged machine is now.
    damaged: Option<PathBuf>,
}

impl Default for Made {
    fn default() -> Self {
        let nowhere = Boundary { end: Seq(0), batch: None, root: seed::Id::of(Domain::Object, &[]) };
        Self { end: nowhere, kept: Kept::History, executed: 0, objects: 0, why_less: None, damaged: None }
    }
}

fn executed(plan: &Plan) -> u64 {
    let remade = plan.remade.iter().map(|(target, base)| target.end.0 - base.end.0);
    plan.end.end.0 - plan.base.end.0 + remade.sum::<u64>()
}

/// The folder itself, where the path leads through links. A place without a machine may be one that a repair was killed at.
fn real_place(machine: &Path) -> Result<PathBuf, Failure> {
    let missing = |_| Failure::Machine(FolderError::Missing { path: machine.to_owned() }.into());
    if let Ok(place) = std::fs::canonicalize(machine) {
        return Ok(place);
    }
    let parent = machine.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let name = machine.file_name().ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
    Ok(std::fs::canonicalize(parent).map_err(missing)?.join(name))
}

/// What holds nothing of a machine is none, and what a newer version has made is for that one to repair.
fn refuse_what_is_no_machine(place: &Path, shown: &Path) -> Result<(), Failure> {
    match Folder::open(place) {
        Err(FolderError::TooNew { found, .. }) => {
            return Err(Failure::Machine(FolderError::TooNew { path: shown.to_owned(), found }.into()));
        }
        Err(FolderError::Missing { .. }) => {
            return Err(Failure::Machine(FolderError::Missing { path: shown.to_owned() }.into()));
        }
        Err(FolderError::NotAMachine { .. })
            if !place.join(DATA_FILE).is_file() && !place.join(head::HEAD_FILE).is_file() =>
        {
            return Err(Failure::Machine(FolderError::NotAMachine { path: shown.to_owned() }.into()));
        }
        _ => {}
    }
    match head::read(place) {
        Err(error @ HeadError::TooNew { .. }) => Err(Failure::Machine(error.into())),
        _ => Ok(()),
    }
}

/// Why not every byte of a machine is right, as `abide verify` in a process of its own says; nothing if they are.
fn flaw(place: &Path, what: &str, shown: &Path) -> Result<Option<String>, Failure> {
    let _progress = Progress::of(format!("{what} {}", shown.display()));
    let this = std::env::current_exe().map_err(Failure::Host)?;
    let mut verify = Command::new(this);
    verify.args(["verify", "--in-process", "--tersely", "--json"]).arg(place);
    let verified = verify.stdin(Stdio::null()).output().map_err(Failure::Host)?;
    let told = || String::from_utf8_lossy(&verified.stderr).trim().to_owned();
    match (verified.status.code(), verified.status.signal()) {
        (Some(0), _) => Ok(None),
        (Some(_), _) => Ok(Some(told())),
        // Damage may end it so; whoever ends it otherwise has said nothing about the machine.
        (None, Some(signal)) if DAMAGE_SIGNALS.contains(&signal) => {
            Ok(Some(format!("reading it ended by signal {signal}")))
        }
        (None, signal) => Err(Failure::ChildDied { path: shown.to_owned(), signal: signal.unwrap_or(0) }),
    }
}

/// Another copy of the machine, or a seed file, of which the objects are kept in a store of their own while this lasts.
fn add(salvage: &mut Salvage, other: &Path, place: &Path) -> Result<Option<NewMachine>, Failure> {
    if other.is_dir() {
        let progress = Progress::of(format!("reading {}", other.display()));
        salvage
            .add_store(other, &mut |read, total| progress.at(format!("{} of {} MiB", read >> 20, total >> 20)))
            .map_err(|source| reading(other, source))?;
        return Ok(None);
    }
    let seed = crate::seeds::read_file(other)?;
    if !seed::pack::is_pack(&seed) {
        return Err(Failure::NoCopy { path: other.to_owned() });
    }
    let place = free_name(place).map_err(|source| replacing(place, source))?;
    let mut kept = NewMachine::begin(&place, u64::from_le_bytes(random()?))?;
    kept.import(&seed, SEED_BYTES_MAX).map_err(|error| match error {
        MachineError::Seed(source) => Failure::Unpack { path: other.to_owned(), source },
        other => other.into(),
    })?;
    salvage.add_shelf(kept.objects());
    Ok(Some(kept))
}

/// Makes the new machine and puts it in its place.
fn make(args: &Repair, place: &Path, salvage: &mut Salvage, survey: &Survey, plan: Plan) -> Result<Made, Failure> {
    let beside = free_name(place).map_err(|source| replacing(&args.machine, source))?;
    let mut new = NewMachine::begin(&beside, u64::from_le_bytes(random()?))?;
    let mut made = fill(&mut new, salvage, survey, plan, &args.machine)?;
    salvage.drop_shelf();
    let folder: NewFolder = new.close()?;
    if let Some(told) = flaw(folder.path(), "checking the repaired", &args.machine)? {
        return Err(Failure::NotWhole { path: args.machine.clone(), source: Told(told) });
    }
    let (_new, damaged) = folder.replace(place).map_err(MachineError::from)?;
    made.damaged = Some(args.machine.with_file_name(damaged.file_name().unwrap_or_default()));
    Ok(made)
}

fn fill(new: &mut NewMachine, salvage: &Salvage, survey: &Survey, plan: Plan, shown: &Path) -> Result<Made, Failure> {
    let mut objects = {
        let progress = Progress::of(format!("taking over what stands of {}", shown.display()));
        take_objects(new, salvage, &mut |count| progress.at(format!("{count} objects")))?
    };
    let bases = plan.remade.iter().map(|(_, base)| base.root).chain([plan.base.root]);
    for root in bases.chain(survey.whole_epochs(&plan)) {
        objects += take_image(new, salvage, root)?;
    }
    let executed = executed(&plan);
    let mut made = Made { end: plan.end, kept: plan.kept, executed, objects, ..Made::default() };
    let again = Again { settings: session::settings()?, salvage, survey, plan: &plan, shown };
    for (target, base) in plan.remade.iter().filter(|_| plan.kept == Kept::History) {
        if let Err(failure) = again.remake(new, base, target) {
            made.kept = Kept::State;
            made.why_less =
                Some(because(&format!("the image before seq {} cannot be made again", target.end), failure)?);
            break;
        }
    }
    let mut checkpoint = plan.end;
    if let Err(failure) = again.remake(new, &plan.base, &plan.end) {
        // A log without a checkpoint after its first batch is none, and a state from before what was acknowledged is not what is asked for.
        if made.kept == Kept::State || plan.base.end == Seq(0) {
            return Err(Failure::Repair { path: shown.to_owned(), source: Box::new(failure) });
        }
        made.why_less =
            Some(because("the records since the newest whole image cannot be executed again here", failure)?);
        checkpoint = plan.base;
    }
    match made.kept {
        Kept::History => drop(take_log(new, salvage, survey, &plan, checkpoint.end)?),
        Kept::State => begin_log(new, survey, made.end)?,
    }
    Ok(made)
}

/// Why something could not be executed, unless it is that the host could not.
fn because(what: &str, failure: Failure) -> Result<String, Failure> {
    match &failure {
        Failure::Body(
            BodyError::Diverged(_) | BodyError::Code(_) | BodyError::Image { .. } | BodyError::Restore(_),
        ) => Ok(format!("{what}: {}", crate::report::causes(&failure).join(": "))),
        _ => Err(failure),
    }
}

/// Executes stretches of the log again.
struct Again<'a> {
    settings: Settings,
    salvage: &'a Salvage,
    survey: &'a Survey,
    plan: &'a Plan,
    shown: &'a Path,
}

impl Again<'_> {
    /// Makes the image at one boundary from the one at another, which the new machine has whole, and keeps it there.
    fn remake(&self, new: &mut NewMachine, base: &Boundary, target: &Boundary) -> Result<(), Failure> {
        if base == target {
            return Ok(());
        }
        let objects = self.execute(Arc::new(new.objects()), base, target)?;
        Ok(take(new, &objects)?)
    }

    fn execute(
        &self,
        objects: SharedObjects,
        base: &Boundary,
        target: &Boundary,
    ) -> Result<Vec<(Link, Vec<u8>)>, Failure> {
        let bytes = objects.load(Domain::Object, &base.root)?;
        let image = Image::decode(&bytes).map_err(|source| LoadError::Malformed { id: base.root, source })?;
        let progress = Progress::of(format!("executing {} again", self.shown.display()));
        let run = || {
            let span = Span { from: base.end, to: target.end };
            let mut batches = |visit: &mut dyn FnMut(Batch) -> Result<(), BodyError>| {
                self.survey.batches(self.salvage, self.plan, span, &mut |batch| {
                    progress.at(format!("seq {} of {}", batch.first, target.end));
                    visit(batch)
                })
            };
            let lost = exit_on_lost_page(self.shown);
            remake(&self.settings, objects, &base.root, &mut batches, &target.root, lost)
        };
        let remade = thread::scope(|scope| {
            let builder = thread::Builder::new().stack_size(Engine::thread_stack_bytes(&image.limits));
            let thread = builder.spawn_scoped(scope, run).map_err(Failure::Host)?;
            thread.join().map_err(|_| Failure::Run(RunError::Thread))
        })?;
        Ok(remade?)
    }
}

/// Begins a log with a state: what the machine was at a boundary is what it starts from.
fn begin_log(new: &mut NewMachine, survey: &Survey, start: Boundary) -> Result<(), Failure> {
    let (number, machine) = match survey.epoch {
        Some((number, machine)) => (number + 1, machine),
        None => (0, random()?),
    };
    let epoch = new_epoch(number, machine, new.identity()?, start.root)?;
    let batch = Batch {
        first: Seq(0),
        time: wall_clock(),
        records: vec![Record::Epoch(epoch)],
        outputs: OutputsHash::default().finish(),
        root: start.root,
        previous: None,
    }
    .seal();
    let commit = Commit { batch, checkpoint: Some(Vec::new()) };
    new.append(&commit).map_err(|error| Failure::Run(RunError::Commit(error)))?;
    Ok(())
}

fn reading(machine: &Path, source: SalvageError) -> Failure {
    Failure::Salvage { path: machine.to_owned(), source }
}

fn replacing(machine: &Path, source: io::Error) -> Failure {
    Failure::Machine(FolderError::Replace { path: machine.to_owned(), source }.into())
}

fn nothing_to_repair(args: &Repair) -> Result<ExitCode, Failure> {
    if args.json {
        writeln!(io::stdout(), "{}", json!({ "v": shown::JSON_VERSION, "whole": true, "repaired": false }))?;
    } else {
        say(&format!("{} is whole: there is nothing to repair", args.machine.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what was saved, and exactly what was not.
fn tell(args: &Repair, survey: &Survey, made: &Made) -> Result<ExitCode, Failure> {
    let acknowledged = survey.acknowledged().max(made.end.end);
    let lost = (made.end.end < acknowledged).then_some(Span { from: made.end.end, to: acknowledged });
    let unknown_head = survey.goal.and_then(|goal| goal.unknown_head);
    let history = (made.kept == Kept::State).then_some(Span { from: Seq(0), to: made.end.end });
    let is_lossless = lost.is_none() && history.is_none() && unknown_head.is_none();
    let code = if is_lossless { ExitCode::SUCCESS } else { ExitCode::from(LOST) };
    let mut out = io::stdout().lock();
    if args.json {
        let json = json!({
            "v": shown::JSON_VERSION, "whole": false, "repaired": !args.dry_run,
            "end": made.end.end.0, "root": format!("{:x}", made.end.root),
            "keeps_history": history.is_none(),
            "lost_seqs": lost.map(standing::span), "lost_history": history.map(standing::span),
            "unknown_head": unknown_head.map(|seq| seq.0),
            "executed": made.executed, "objects": made.objects,
            "why": made.why_less,
            "damaged": made.damaged.as_ref().map(|path| path.display().to_string()),
            "stands": standing::facts(survey),
        });
        writeln!(out, "{json}")?;
        return Ok(code);
    }
    let machine = args.machine.display();
    // A log that begins anew counts anew.
    let (stands, would) = match made.kept {
        Kept::History => ("stands", "stand"),
        Kept::State => ("is what it was", "be what it was"),
    };
    let at = format!("at seq {}, root {:x}", last(made.end.end), made.end.root);
    match args.dry_run {
        true => {
            let standing = Standing::told(survey, &args.machine);
            standing.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            writeln!(out, "{machine} would {would} {at}")?;
        }
        false => writeln!(out, "{machine} is repaired and verified; it {stands} {at}")?,
    }
    if let Some(span) = lost {
        writeln!(out, "lost: {span}, which had been acknowledged")?;
    }
    if let Some(seq) = unknown_head {
        writeln!(out, "lost: a batch before seq {seq}, which the head file names and no log has")?;
    }
    if let Some(span) = history {
        let nowhere: Vec<String> = survey.holes.iter().rev().map(ToString::to_string).collect();
        let nowhere =
            if nowhere.is_empty() { String::new() } else { format!(" ({} cannot be had at all)", nowhere.join(", ")) };
        writeln!(out, "lost: the history, {span}{nowhere}: a new log begins with what the machine was")?;
    }
    if let Some(why) = &made.why_less {
        writeln!(out, "note: {why}")?;
    }
    if is_lossless {
        writeln!(out, "nothing is lost")?;
    }
    if let Some(damaged) = &made.damaged {
        writeln!(out, "the damaged machine is kept as {}", damaged.display())?;
        if !is_lossless {
            let again = format!("abide repair {} --from OTHER", damaged.display());
            say(&format!("hint: with another copy of it, {again} may save more"));
        }
    }
    Ok(code)
}
