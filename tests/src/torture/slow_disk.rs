//! A disk that takes its time, up to half a second for every read, write and flush, and processors that are busy with something else. Everything takes
//! longer; nothing fails because it took long, and nobody is left without an answer.

use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::blocklog::{Blocks, Disk, Disks};
use super::rounds::{sweep, telling};
use super::scenes::{Scene, Stage, expect_ok};
use super::{Effort, Harm, Row, Tally};
use crate::abide::{Answer, Life, abide, boot, example, finish, verify};

/// A round is each scene of a life once, and a stop while others talk.
pub const ROW: Row =
    Row { name: "slow-disk", fault: "a disk that takes up to half a second, busy processors", in_ci: 1, run };

/// How long each read, write and flush takes, in milliseconds.
const SLOWNESS: RangeInclusive<u64> = 50..=500;
/// The same, where the tests have no time for it.
const SLOWNESS_IN_CI: RangeInclusive<u64> = 20..=120;

/// Something else that wants the processors.
const BUSY_THREADS: usize = 4;

const SIZE: u64 = 64 << 20;
const FORMAT: [&str; 5] = ["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"];

#[derive(Debug, Clone, Copy)]
enum Play {
    Scene(Scene),
    /// A machine is stopped while two talk to it and a third comes.
    Stop,
}

fn run(effort: &Effort) -> Tally {
    if let Err(why) = with_disk(|disk| disk.mount("ext4").map(drop)).and_then(|tried| tried) {
        return Tally::not_run(why);
    }
    let stage = Stage::new();
    let slowness = if effort.until.is_some() { SLOWNESS } else { SLOWNESS_IN_CI };
    let plays: Vec<Play> = Scene::ALL.into_iter().map(Play::Scene).chain([Play::Stop]).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..BUSY_THREADS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let tally = sweep(effort, &plays, |play| {
            let again = format!("{play:?} on a disk that takes {slowness:?} ms, torture --seed {}", effort.seed);
            Some(telling(&again, || {
                with_disk(|disk| match play {
                    Play::Scene(scene) => played_slowly(&stage, *scene, disk, slowness.clone(), effort.seed),
                    Play::Stop => stopped_slowly(disk, effort.seed),
                })
                .map_err(Harm::Wrong)?
            }))
        });
        is_over.store(true, Ordering::Relaxed);
        tally
    })
}

fn with_disk<T>(work: impl FnOnce(&Disk<'_>) -> T) -> Result<T, String> {
    // Each has a server of its own, so that none waits for another's disk.
    let disks = Disks::open()?;
    let disk = disks.disk(SIZE, Blocks::default());
    disk.treat(&FORMAT)?;
    Ok(work(&disk))
}

fn played_slowly(
    stage: &Stage,
    scene: Scene,
    disk: &Disk<'_>,
    slowness: RangeInclusive<u64>,
    seed: u64,
) -> Result<(), Harm> {
    let mounted = disk.mount("ext4").map_err(Harm::Wrong)?;
    let place = mounted.path().join("place");
    std::fs::create_dir(&place).map_err(|error| Harm::Wrong(error.to_string()))?;
    stage.set(scene, &place);
    disk.be_slow(slowness, seed);
    // Native code is made anew, on busy processors.
    let played = stage.play(scene, &place, |mut command| {
        command.env("ABIDE_CACHE", place.join(".cache"));
        command
    })?;
    let _ = disk.be_good();
    let _ = std::fs::remove_dir_all(place.join(".cache"));
    played.is_as_without_a_fault()?;
    played.judge(scene, &place)
}

/// Whatever a machine has taken is answered although it is being stopped; whatever it has not is surely not taken; and who comes meanwhile waits.
///
/// Whoever still waited for an answer one second after a stop was demanded did not hear it, although it was about to become durable: on this disk
/// everybody. And who came meanwhile was refused after five seconds. Now a stop hands out what it makes durable, and who comes has more patience.
fn stopped_slowly(disk: &Disk<'_>, seed: u64) -> Result<(), Harm> {
    let mounted = disk.mount("ext4").map_err(Harm::Wrong)?;
    let machine = mounted.path().join("m");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let mut life = Life::start(&machine);
    let talks = [life.talk(&machine), life.talk(&machine)];
    disk.be_slow(SLOWNESS, seed);
    let answered = thread::scope(|scope| {
        let talkers = talks.map(|mut talk| {
            scope.spawn(move || {
                let mut taken = 0;
                loop {
                    let thread = format!("{:?}", thread::current().id());
                    let text = "x".repeat(20_000);
                    match talk.say("", &format!("put {thread}-{taken} {text}")) {
                        Ok(Answer::Said(answer)) if answer == "ok" => taken += 1,
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(taken),
                        other => return Err(Harm::Wrong(format!("left without an answer after {taken}: {other:?}"))),
                    }
                }
            })
        });
        thread::sleep(Duration::from_millis(1500));
        let (ended, sent) = thread::scope(|stop| {
            let sender = stop.spawn(|| {
                thread::sleep(Duration::from_millis(200));
                finish(&mut abide(["send".as_ref(), machine.as_os_str(), "put late note".as_ref()]))
            });
            (life.stop().0, sender.join())
        });
        if !ended.status.success() {
            return Err(Harm::Wrong(format!("does not stop well: {ended}")));
        }
        match sent {
            Ok(sent) if sent.out == b"ok\n" && sent.status.success() => {}
            other => return Err(Harm::Wrong(format!("who came meanwhile is not served: {other:?}"))),
        }
        talkers.into_iter().try_fold(1, |sum, talker| {
            let taken = talker.join().unwrap_or_else(|_| Err(Harm::Wrong("a talker panicked".to_owned())));
            taken.map(|taken| sum + taken)
        })
    })?;
    let _ = disk.be_good();
    let listed = expect_ok(["send".as_ref(), machine.as_os_str(), "list".as_ref()])?.lines().count();
    if listed != answered {
        let text = format!("{answered} messages were answered, there are {listed}");
        return Err(if listed < answered { Harm::Lost(text) } else { Harm::Wrong(text) });
    }
    let _ = verify(&machine);
    Ok(())
}
