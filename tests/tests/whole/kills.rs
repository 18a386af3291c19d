//! Promises 1 and 2 under `kill -9`: at random moments, and just before and just after every commit of a short life.
//!
//! What the outside has seen is compared with the durable log and with a model that knows only what was acknowledged. Nothing here waits for a
//! quiet moment: clients go on sending while the machine dies and comes back.

#[path = "kills/notes.rs"]
mod notes;

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use tests::abide::{Life, abide, boot, example, fast_counter, finish, log, place, root, run, send, verify};
use tests::sim::random::Random;

const KILLS: usize = 200;

/// What the log of a counter says, and what its console showed.
#[derive(Default)]
struct Counter {
    /// How far it has counted.
    counted: u64,
    /// How many of its lines are logged as delivered. Line and effect have the same number.
    delivered: u64,
    /// The last line that was shown.
    shown: u64,
    next_seq: u64,
    /// How often more than the last line came again.
    long_repeats: usize,
}

impl Counter {
    /// Accounts for one life of the machine, which showed these lines and then died.
    #[track_caller]
    fn lived(&mut self, machine: &Path, lines: &[String]) {
        let first = self.delivered + 1;
        for (line, number) in lines.iter().zip(first..) {
            assert_eq!(*line, format!("counter is at {number}"), "after {} was shown: {lines:?}", self.shown);
        }
        if !lines.is_empty() {
            self.long_repeats += usize::from(first + 1 < self.shown);
            self.shown = self.shown.max(self.delivered + lines.len() as u64);
        }
        self.read_log(machine);
        assert!(self.shown <= self.counted, "{} was shown, {} is durable", self.shown, self.counted);
        assert!(self.delivered <= self.shown, "{} is logged as delivered, {} was shown", self.delivered, self.shown);
    }

    fn read_log(&mut self, machine: &Path) {
        for record in log(machine, self.next_seq) {
            assert_eq!(record["seq"], self.next_seq, "the log is dense");
            self.next_seq += 1;
            match record["kind"].as_str() {
                Some("step") if record["input"]["kind"] == "answer" => self.counted += 1,
                Some("settle") => {
                    for effect in record["effects"].as_array().unwrap() {
                        self.delivered += 1;
                        assert_eq!(*effect, self.delivered, "lines are delivered once, in order");
                    }
                }
                Some("step" | "epoch") => {}
                _ => panic!("a counter has no such record: {record}"),
            }
        }
    }
}

#[test]
fn a_counter_killed_200_times_skips_no_number_and_repeats_at_most_what_may_be_unseen() {
    let place = place();
    let machine = place.path().join("counter");
    boot(&machine, &fast_counter(place.path()), &[]);
    let mut random = Random::new(0xc0);
    let mut counter = Counter::default();
    let mut speechless = 0;
    for round in 0..KILLS {
        let mut life = Life::start(&machine);
        // Every other kill falls into starting and recovering, wherever that has got to.
        let mut lines = Vec::new();
        if round % 2 == 0 {
            lines.extend(life.line());
        }
        std::thread::sleep(Duration::from_micros(random.below(100_000)));
        lines.extend(life.kill());
        speechless += usize::from(lines.is_empty());
        counter.lived(&machine, &lines);
    }
    println!("{} numbers in {KILLS} lives; {speechless} lives showed none", counter.counted);
    assert!(counter.counted >= KILLS as u64 / 2, "only {} numbers in {KILLS} lives", counter.counted);
    let often = counter.long_repeats;
    assert!(often <= KILLS / 20, "more than the last line came again {often} times in {KILLS}");

    let mut life = Life::start(&machine);
    let line = life.line();
    let (ran, mut lines) = life.stop();
    let _ = ran.ok();
    lines.splice(0..0, line);
    counter.lived(&machine, &lines);
    assert_eq!(verify(&machine), counter.next_seq);
    // It goes on counting the moment it is started, so the answer may be a number or two further.
    let (before, answer) = (counter.counted, send(&machine, "").parse().unwrap());
    counter.read_log(&machine);
    assert!((before..=counter.counted).contains(&answer), "{answer} is not between {before} and {}", counter.counted);
}

/// `ABIDE_KILL_AT_COMMIT` for both sides of every commit from the first on.
fn commit_points() -> impl Iterator<Item = String> {
    (1..).flat_map(|commit| [format!("{commit}:before"), format!("{commit}:after")])
}

/// A command of ours that ends itself at this commit.
fn killed_at<I: AsRef<OsStr>>(point: &str, args: impl IntoIterator<Item = I>) -> std::process::Command {
    let mut command = abide(args);
    command.env("ABIDE_KILL_AT_COMMIT", point);
    command
}

#[test]
fn a_counter_killed_at_every_commit_of_its_life_goes_on() {
    let place = place();
    let machine = place.path().join("counter");
    boot(&machine, &fast_counter(place.path()), &[]);
    let mut counter = Counter::default();
    for point in commit_points().take(40) {
        let (ran, lines) = Life::of(killed_at(&point, ["start".as_ref(), machine.as_os_str()])).end();
        assert_eq!(ran.status.signal(), Some(9), "{point}: {ran}");
        counter.lived(&machine, &lines);
    }
    assert!(counter.counted >= 100, "only {} numbers", counter.counted);
    let _ = verify(&machine);
}

#[test]
fn a_boot_killed_at_its_commit_leaves_nothing_that_the_next_does_not_clear_away() {
    let place = place();
    let machine = place.path().join("counter");
    let seed = fast_counter(place.path());
    let args = ["boot".as_ref(), machine.as_os_str(), seed.as_os_str()];
    for point in ["1:before", "1:after"] {
        let ran = finish(&mut killed_at(point, args));
        assert_eq!(ran.status.signal(), Some(9), "{ran}");
        assert!(!machine.exists(), "{point}");
    }
    let _ = run(args).ok();
    let mut names: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["counter", "fast.wat"]);
    let _ = verify(&machine);
}

#[test]
fn a_send_killed_at_any_commit_and_sent_again_with_its_key_happens_once() {
    let place = place();
    let (machine, undisturbed) = (place.path().join("notes"), place.path().join("undisturbed"));
    for machine in [&machine, &undisturbed] {
        boot(machine, &example("notes/notes.wasm"), &[]);
    }
    let mut kills = 0;
    for (number, point) in commit_points().enumerate() {
        let (key, payload) = (format!("key {number}"), format!("put note{number} at {point}"));
        let args = |machine: &Path| ["send", "--key", &key, machine.to_str().unwrap(), &payload].map(str::to_owned);
        let ran = finish(&mut killed_at(&point, args(&machine)));
        assert_eq!(run(args(&machine)).ok(), "ok\n", "{point}");
        assert_eq!(run(args(&undisturbed)).ok(), "ok\n");
        assert_eq!(root(&machine), root(&undisturbed), "{point}");
        if ran.status.signal() != Some(9) {
            assert_eq!(ran.ok(), "ok\n");
            break;
        }
        kills += 1;
    }
    assert_eq!(kills, 4, "a message, and a checkpoint at the end");
    let _ = verify(&machine);
}
