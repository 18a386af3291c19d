//! Notes under `kill -9`: every acknowledged put is there, and a message sent again with its key has one effect.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tests::abide::{Answer, Life, Talk, boot, example, log, place, root, verify};
use tests::sim::random::Random;

use super::{KILLS, commit_points, killed_at};

/// A client with notes of its own, which it also keeps in a model.
struct Writer<'a> {
    name: &'a str,
    machine: &'a Path,
    done: &'a AtomicBool,
    random: Random,
    notes: BTreeMap<String, String>,
    talk: Option<Talk>,
    sent: u64,
    acknowledged: BTreeSet<u64>,
    /// Messages that were under way when the machine died: sent again with the same key, and given up.
    repeated: u64,
    given_up: u64,
}

impl Writer<'_> {
    fn run(&mut self) {
        while !self.done.load(Ordering::Relaxed) {
            let note = format!("{}-{}", self.name, self.random.below(20));
            match self.random.below(5) {
                0 => self.delete(&note),
                1 => self.look(&note),
                _ => self.put(&note),
            }
        }
    }

    fn put(&mut self, note: &str) {
        let text = format!("{} {}", self.sent, "x".repeat(self.random.index(200)));
        let known = self.say(&format!("put {note} {text}"), "ok");
        self.settle(note, Some(text), known);
    }

    fn delete(&mut self, note: &str) {
        let expected = if self.notes.contains_key(note) { "ok".to_owned() } else { format!("no such note: {note}") };
        let known = self.say(&format!("del {note}"), &expected);
        self.settle(note, None, known);
    }

    fn look(&mut self, note: &str) {
        let expected = self.notes.get(note).cloned().unwrap_or_else(|| format!("no such note: {note}"));
        self.say(&format!("get {note}"), &expected);
    }

    /// The model takes on a change that was acknowledged. One that was given up is there or is not: the machine says which.
    fn settle(&mut self, note: &str, text: Option<String>, known: bool) {
        let before = self.notes.get(note).cloned();
        let change = |notes: &mut BTreeMap<String, String>| match text.clone() {
            Some(text) => drop(notes.insert(note.to_owned(), text)),
            None => drop(notes.remove(note)),
        };
        if known || text == before {
            return change(&mut self.notes);
        }
        let found = self.persist(|talk| talk.say("", &format!("get {note}")));
        let shown =
            |text: &Option<String>| Answer::Said(text.clone().unwrap_or_else(|| format!("no such note: {note}")));
        if found == shown(&text) {
            change(&mut self.notes);
        } else {
            assert_eq!(found, shown(&before), "neither before nor after");
        }
    }

    /// Sends a message with a key of its own. Whether it was answered; otherwise it was given up.
    fn say(&mut self, payload: &str, expected: &str) -> bool {
        let number = self.sent;
        self.sent += 1;
        let key = format!("{} {number}", self.name);
        let gives_up = self.random.one_in(3);
        let mut attempts = 0;
        let answer = loop {
            attempts += 1;
            match self.connected().say(&key, payload) {
                Ok(answer) => break answer,
                Err(_) => self.talk = None,
            }
            if gives_up {
                self.given_up += 1;
                return false;
            }
        };
        assert_eq!(answer, Answer::Said(expected.to_owned()), "{payload:?}, attempt {attempts}");
        self.repeated += u64::from(attempts > 1);
        self.acknowledged.insert(number);
        true
    }

    /// Asks until there is an answer, however often the machine dies.
    fn persist(&mut self, mut ask: impl FnMut(&mut Talk) -> std::io::Result<Answer>) -> Answer {
        loop {
            match ask(self.connected()) {
                Ok(answer) => return answer,
                Err(_) => self.talk = None,
            }
        }
    }

    fn connected(&mut self) -> &mut Talk {
        while self.talk.is_none() {
            self.talk = Talk::with(self.machine).ok();
            if self.talk.is_none() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.talk.as_mut().unwrap()
    }
}

#[test]
fn notes_killed_200_times_keep_every_acknowledged_put_and_do_nothing_twice() {
    let place = place();
    let machine = place.path().join("notes");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    let done = AtomicBool::new(false);
    let names = ["anne", "bob", "carl"];
    let mut writers: Vec<Writer<'_>> = names
        .iter()
        .zip(1..)
        .map(|(name, seed)| Writer {
            name,
            machine: &machine,
            done: &done,
            random: Random::new(seed),
            notes: BTreeMap::new(),
            talk: None,
            sent: 0,
            acknowledged: BTreeSet::new(),
            repeated: 0,
            given_up: 0,
        })
        .collect();
    let mut last = thread::scope(|scope| {
        for writer in &mut writers {
            scope.spawn(|| writer.run());
        }
        let mut random = Random::new(0x5eed);
        for round in 0..KILLS {
            let mut life = Life::start(&machine);
            // Every other kill falls into starting and recovering, wherever that has got to.
            if round % 2 == 0 {
                drop(life.talk(&machine));
            }
            thread::sleep(Duration::from_micros(random.below(50_000)));
            let lines = life.kill();
            assert!(lines.is_empty(), "notes print nothing: {lines:?}");
        }
        done.store(true, Ordering::Relaxed);
        Life::start(&machine)
    });

    let count = |of: fn(&Writer<'_>) -> u64| writers.iter().map(of).sum::<u64>();
    let (acknowledged, repeated) = (count(|writer| writer.acknowledged.len() as u64), count(|writer| writer.repeated));
    println!("{acknowledged} acknowledged, {repeated} of them again, {} given up", count(|writer| writer.given_up));
    assert!(acknowledged >= KILLS as u64 && repeated >= 20, "{acknowledged} acknowledged, {repeated} sent again");
    let expected: BTreeMap<&String, &String> = writers.iter().flat_map(|writer| &writer.notes).collect();
    let expected: Vec<String> = expected.iter().map(|(note, text)| format!("{note} {text}")).collect();
    assert_eq!(last.talk(&machine).ask("list"), expected.join("\n"));
    let _ = last.stop().0.ok();
    let entered = each_key_once(&machine);
    for writer in &writers {
        let entered = entered.get(writer.name).cloned().unwrap_or_default();
        assert!(
            entered.is_superset(&writer.acknowledged),
            "an acknowledged message of {} is not in the log",
            writer.name
        );
        assert!(entered.iter().all(|number| *number < writer.sent));
    }
    let _ = verify(&machine);
}

/// Numbers of the messages in the log, by sender. Each sender's are in the order of sending and none is there twice.
fn each_key_once(machine: &Path) -> BTreeMap<String, BTreeSet<u64>> {
    let mut entered: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for record in log(machine, 0) {
        let key = record["key"]["text"].as_str().unwrap_or_default();
        let Some((name, number)) = key.split_once(' ') else { continue };
        let number = number.parse().unwrap();
        let of_sender = entered.entry(name.to_owned()).or_default();
        assert!(of_sender.last().is_none_or(|last| *last < number), "{key} comes twice or late");
        of_sender.insert(number);
    }
    entered
}

#[test]
fn notes_killed_at_every_commit_of_a_life_end_as_if_they_had_not_been() {
    let script = [
        "put a one",
        "put b two",
        "test trap",
        "put c three",
        "test slices 3",
        "del a",
        "test malformed",
        "put b four",
        "count",
        "list",
    ];
    let place = place();
    let life_of = |name: &str, point: Option<&str>| {
        let machine = place.path().join(name);
        boot(&machine, &example("notes/notes.wasm"), &[]);
        let args = ["start".as_ref(), machine.as_os_str()];
        let mut answers = Vec::new();
        let mut life = Life::of(killed_at(point.unwrap_or("none"), args));
        let mut talk = life.talk(&machine);
        while let Some(answer) =
            script.get(answers.len()).and_then(|payload| talk.say(&format!("script {}", answers.len()), payload).ok())
        {
            answers.push(answer);
        }
        let killed = if answers.len() == script.len() { life.stop().0 } else { life.end().0 };
        if killed.status.signal() == Some(9) {
            let mut life = Life::start(&machine);
            let mut talk = life.talk(&machine);
            for (number, payload) in script.iter().enumerate().skip(answers.len()) {
                answers.push(talk.say(&format!("script {number}"), payload).unwrap());
            }
            let _ = life.stop().0.ok();
        }
        let entered = each_key_once(&machine).remove("script").unwrap_or_default();
        assert_eq!(entered.len(), script.len(), "{point:?}");
        let _ = verify(&machine);
        (killed, answers, root(&machine))
    };
    let (whole, answers, root) = life_of("whole", None);
    let _ = whole.ok();
    assert!(answers.iter().filter(|answer| matches!(answer, Answer::Refused(2, _))).count() == 2, "{answers:?}");
    let mut kills = 0;
    for point in commit_points() {
        let (killed, same_answers, same_root) = life_of(&point.replace(':', "-"), Some(&point));
        assert_eq!(same_answers, answers, "{point}");
        assert_eq!(same_root, root, "{point}");
        if killed.status.signal() != Some(9) {
            let _ = killed.ok();
            break;
        }
        kills += 1;
    }
    println!("{kills} commit points");
    assert!(kills >= 2 * script.len(), "only {kills} commit points");
}
