//! `abide boot`: a folder that is a machine, or nothing at all.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use persist::machine::{Machine, NewMachine};
use seed::image::{Grant, Image, Program};
use seed::object::{KIND_PROGRAM, Link, Objects, kind};
use seed::{Domain, Id, LoadError, Nanos, PortId, Seq};
use vm::body::{Body, SharedObjects};
use vm::engine::{Engine, Mode, Settings};
use vm::step_loop::{Fatal, Policy, Position, StepLoop, Turn};

use super::{grants, session, start};
use crate::cli::Boot;
use crate::clocks::{random, wall_clock};
use crate::driver::{RunError, exit_on_lost_page, new_epoch, number};
use crate::injection::{Side, at_commit};
use crate::ports;
use crate::report::{Failure, Paint};
use crate::seeds::{self, SEED_BYTES_MAX, Terms};
use crate::shown;
use crate::terminal::{Progress, say};

pub(crate) fn run(args: &Boot) -> Result<ExitCode, Failure> {
    let machine =
        boot(args).map_err(|source| Failure::Boot { path: args.machine.clone(), source: Box::new(source) })?;
    if args.start {
        return start::start(machine, args.run);
    }
    if args.json {
        writeln!(io::stdout(), "{}", shown::standing_json(machine.branch()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::of(&std::io::stderr());
    let shown = args.machine.display().to_string();
    say(&format!("booted {} at root {}; next: abide start {shown}", paint.strong(&shown), machine.branch().root));
    Ok(ExitCode::SUCCESS)
}

fn boot(args: &Boot) -> Result<Machine, Failure> {
    let _progress = Progress::of(format!("booting {}", args.machine.display()));
    let terms = Terms { genesis: args.genesis.as_deref(), asks: &[], limits: &args.limit };
    let seed = seeds::read(&args.seed, &terms)?;
    let mut new = NewMachine::begin(&args.machine, u64::from_le_bytes(random()?))?;
    let root = new.import(&seed, SEED_BYTES_MAX)?;
    drop(seed);
    let (image, regrant) = first_image(&mut new, root, &args.grant).map_err(|error| match error {
        Failure::Load(source) => Failure::SeedContent { path: args.seed.clone(), source },
        other => other,
    })?;
    let epoch = new_epoch(0, random()?, new.identity()?, image.root())?;
    let position = Position {
        end: Seq(0),
        batch: None,
        cost_since_checkpoint: Nanos(0),
        records_since_checkpoint: 0,
        new_epoch: Some(epoch),
    };
    let settings = session::settings()?;
    let objects: SharedObjects = Arc::new(new.objects());
    // The guest needs more native stack than a main thread has.
    let stack = Engine::thread_stack_bytes(&image.limits);
    let path = args.machine.clone();
    let (new, outcome) = thread::scope(|scope| {
        let run = move || {
            let outcome = first_step(&settings, objects, &image, (position, regrant), &path, &mut new);
            (new, outcome)
        };
        let thread = thread::Builder::new().stack_size(stack).spawn_scoped(scope, run).map_err(Failure::Host)?;
        thread.join().map_err(|_| Failure::Run(RunError::Thread))
    })?;
    outcome?;
    Ok(Machine::open_locked(new.publish()?)?)
}

/// Boots the machine and makes its first batch durable. What it puts out waits for the first start.
fn first_step(
    settings: &Settings,
    objects: SharedObjects,
    image: &Image,
    (position, regrant): (Position, Option<Regrant>),
    path: &std::path::Path,
    new: &mut NewMachine,
) -> Result<(), Failure> {
    let body = Body::restore(settings, Mode::Live, objects, &image.root(), exit_on_lost_page(path))?;
    let ticker = body.engine().ticker();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let tick = || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                ticker.tick();
                thread::park_timeout(std::time::Duration::from_millis(2));
            }
        };
        thread::Builder::new().spawn_scoped(scope, tick).map_err(Failure::Host)?;
        let outcome = first_turns(body, position, regrant, new);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome
    })
}

fn first_turns(body: Body, position: Position, regrant: Option<Regrant>, new: &mut NewMachine) -> Result<(), Failure> {
    let fatal = |error: Fatal| Failure::Run(RunError::Fatal(error));
    let mut step_loop = StepLoop::new(body, Policy::default(), position).map_err(fatal)?;
    if let Some(Regrant { grants, next_port }) = regrant {
        step_loop.regrant_first(grants, next_port);
    }
    loop {
        match step_loop.turn(wall_clock()).map_err(fatal)? {
            Turn::Commit(commit) => {
                at_commit(Side::Before);
                new.append(&commit).map_err(|error| Failure::Run(RunError::Commit(error)))?;
                at_commit(Side::After);
                step_loop.committed();
                step_loop.stop();
            }
            // Still undelivered as far as the image knows, so it is let out by the first start.
            Turn::Worked | Turn::Release(_) | Turn::Idle(_) => {}
            Turn::Stopped => return Ok(()),
            Turn::Halted(halt) => return Err(halt.into()),
        }
    }
}

/// Other grants than those of the image that a machine boots from.
struct Regrant {
    grants: Vec<Grant>,
    next_port: PortId,
}

/// The image that the machine boots from: a paused machine's own, or a program's with the ports that a person grants.
fn first_image(new: &mut NewMachine, (_, root): Link, granted: &[String]) -> Result<(Image, Option<Regrant>), Failure> {
    let objects = new.objects();
    let bytes = objects.load(Domain::Object, &root)?;
    let malformed = |source| LoadError::Malformed { id: root, source };
    if kind(&bytes).map_err(malformed)? != KIND_PROGRAM {
        let image = Image::decode(&bytes).map_err(malformed)?;
        let regrant = regrant(&image, granted)?;
        return Ok((image, regrant));
    }
    let program = Program::decode(&bytes).map_err(malformed)?;
    let folder = std::env::current_dir().map_err(Failure::Host)?;
    let unasked = |name: &&String| {
        let kept = ports::resolve(name, &folder).unwrap_or_else(|| (*name).clone());
        !program.asks.iter().any(|asked| ports::is_within(asked, &kept))
    };
    if let Some(name) = granted.iter().find(unasked) {
        return Err(Failure::Grant { name: name.clone(), why: "the seed does not ask for it" });
    }
    let granted = grants::resolve(granted)?;
    let mut names: Vec<&str> = ["owner"].into_iter().chain(ports::GIVEN).collect();
    for name in &granted {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let grants =
        names.into_iter().zip(0..).map(|(name, port)| Grant { port: PortId(port), name: name.to_owned() }).collect();
    let image = program.to_image(grants);
    let encoding = image.encode();
    new.keep(Domain::Object, &Id::of(Domain::Object, &encoding), &encoding)?;
    Ok((image, None))
}

/// What a saved machine keeps of its grants on this host: what every machine is given, and what a person grants anew. Whoever saved it may be a
/// stranger, who had this host's files and addresses no more than any program has.
fn regrant(image: &Image, granted: &[String]) -> Result<Option<Regrant>, Failure> {
    let had = |name: &str| image.grants.iter().any(|grant| ports::is_akin(&grant.name, name));
    if let Some(name) = granted.iter().find(|name| !had(name)) {
        return Err(Failure::Grant { name: name.clone(), why: "the saved machine had no such port" });
    }
    let granted = grants::resolve(granted)?;
    let stays = |grant: &&Grant| ports::GIVEN.contains(&grant.name.as_str()) || granted.contains(&grant.name);
    let owner = Grant { port: PortId::OWNER, name: "owner".to_owned() };
    let kept = image.grants.iter().filter(|grant| grant.port != PortId::OWNER).filter(stays).cloned();
    let mut grants: Vec<Grant> = [owner].into_iter().chain(kept).collect();
    let mut next_port = image.next_port.max(PortId::FIRST_FREE);
    for name in granted {
        if !grants.iter().any(|grant| grant.name == name) {
            grants.push(number(name, &mut next_port)?);
        }
    }
    Ok((grants != image.grants).then_some(Regrant { grants, next_port }))
}
