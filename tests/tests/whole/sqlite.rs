//! SQLite as a machine: 2,000 statements with kills among them leave the database that they leave without, and that native SQLite makes.
//!
//! The script follows from a number. Native SQLite is the command `sqlite3`; where there is none, its comparison is named as not run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tests::abide::{Answer, Life, boot, example, place, root, send, verify};
use tests::not_run;
use tests::sim::random::Random;

const STATEMENTS: usize = 2_000;
const KILLS: usize = 40;

/// Writes statements; what it knows of the database only serves to make most of them meaningful.
struct Script {
    random: Random,
    messages: Vec<String>,
    persons: u64,
    open: bool,
}

pub(crate) fn script() -> Vec<String> {
    let mut script = Script { random: Random::new(2_000), messages: Vec::new(), persons: 0, open: false };
    for table in [
        "create table person(id integer primary key, name text not null, age integer, photo blob)",
        "create table visit(person integer, place text, day integer, primary key(person, day)) without rowid",
        "create index by_name on person(name, age)",
        "create view known as select name, count(day) as visits from person left join visit on person = id group by id",
        "create trigger gone after delete on person begin delete from visit where person = old.id; end",
    ] {
        script.messages.push(table.to_owned());
    }
    while script.messages.len() < STATEMENTS - 1 {
        script.add();
    }
    if script.open {
        script.messages.push("commit".to_owned());
    }
    script.messages.resize_with(STATEMENTS, || "select * from known order by name limit 5".to_owned());
    script.messages
}

impl Script {
    fn add(&mut self) {
        let message = match self.random.below(100) {
            0..35 => self.insert(),
            35..50 => self.update(),
            50..58 => format!("delete from person where id = {}", self.person()),
            58..68 => self.transaction(),
            68..72 if !self.open => {
                self.open = true;
                "begin".to_owned()
            }
            68..80 if self.open => {
                self.open = false;
                if self.random.one_in(3) { "rollback" } else { "commit" }.to_owned()
            }
            80..84 => format!("insert into person(id, name) values ({}, null)", self.person()),
            _ => self.select(),
        };
        self.messages.push(message);
    }

    fn person(&mut self) -> u64 {
        1 + self.random.below(self.persons)
    }

    fn insert(&mut self) -> String {
        if self.random.one_in(3) {
            let (person, day) = (self.person(), self.random.below(3_000));
            return format!("insert or ignore into visit values ({person}, 'place {}', {day})", day % 17);
        }
        self.persons += 1;
        let name = self.random.pick(&["Ada", "Blaise", "Çelik", "O''Hara", "name; with -- signs", "日本"]);
        let photo: String = (0..self.random.below(400)).fold(String::new(), |mut digits, _| {
            let _ = write!(digits, "{:02x}", self.random.below(256));
            digits
        });
        let age = if self.random.one_in(7) { "null".to_owned() } else { self.random.below(100).to_string() };
        format!("insert into person values (null, '{name} {}', {age}, x'{photo}')", self.persons)
    }

    fn update(&mut self) -> String {
        let person = self.person();
        match self.random.below(3) {
            0 => format!("update person set age = age + 1 where id % 7 = {}", person % 7),
            1 => format!("update person set name = upper(name), photo = zeroblob({}) where id = {person}", person % 60),
            _ => format!("update visit set place = place || '.' where person = {person}"),
        }
    }

    fn transaction(&mut self) -> String {
        let body = [self.insert(), self.update(), self.insert()].join("; ");
        let (begin, end) = match (self.open, self.random.one_in(4)) {
            (true, true) => ("savepoint s", "rollback to s; release s"),
            (true, false) => ("savepoint s", "release s"),
            (false, true) => ("begin", "rollback"),
            (false, false) => ("begin", "commit"),
        };
        format!("{begin}; {body}; {end}")
    }

    fn select(&mut self) -> String {
        let person = self.person();
        match self.random.below(4) {
            0 => format!("select id, name, age, hex(photo) from person where id between {person} and {}", person + 3),
            1 => "select count(*), sum(age), max(length(photo)) from person".to_owned(),
            2 => "select * from known where visits > 0 order by visits desc, name limit 10".to_owned(),
            _ => format!("select place, count(*) from visit where person < {person} group by place order by 1"),
        }
    }
}

/// A machine with a new database. Genesis data take the place of the random port, so that nothing but the script decides.
pub(crate) fn machine(folder: &Path, name: &str) -> std::path::PathBuf {
    let (machine, genesis) = (folder.join(name), folder.join("genesis"));
    std::fs::write(&genesis, "the same for all").unwrap();
    boot(&machine, &example("sqlite/sqlite.wasm"), &["--genesis", genesis.to_str().unwrap()]);
    machine
}

/// Sends the script; the process that runs the machine is killed while it works on the messages with these numbers, or soon after.
pub(crate) fn perform(machine: &Path, script: &[String], kills: &[usize]) -> (Vec<Answer>, usize) {
    let mut random = Random::new(15);
    let mut answers = Vec::with_capacity(script.len());
    let mut deaths = 0;
    let mut life = Life::start(machine);
    let mut talk = life.talk(machine);
    for (number, message) in script.iter().enumerate() {
        let key = format!("statement {number}");
        let doom = kills.contains(&number).then(|| {
            let (killer, delay) = (life.killer(), Duration::from_micros(random.below(3_000)));
            thread::spawn(move || {
                thread::sleep(delay);
                killer.kill();
            })
        });
        let answer = loop {
            match talk.say(&key, message) {
                Ok(answer) => break answer,
                Err(_) => {
                    deaths += 1;
                    life.see_dead();
                    if deaths % 2 == 1 {
                        // And again while it comes back.
                        let early = Life::start(machine);
                        thread::sleep(Duration::from_micros(random.below(20_000)));
                        let _ = early.kill();
                    }
                    life = Life::start(machine);
                    talk = life.talk(machine);
                }
            }
        };
        answers.push(answer);
        // One at a time, however busy the host is.
        if let Some(doom) = doom {
            doom.join().unwrap();
        }
    }
    let _ = life.stop();
    (answers, deaths)
}

#[test]
fn two_thousand_statements_with_kills_are_as_without_and_as_in_native_sqlite() {
    let place = place();
    let script = script();
    assert_eq!(script.len(), STATEMENTS);
    let undisturbed = machine(place.path(), "undisturbed");
    let (expected, deaths) = perform(&undisturbed, &script, &[]);
    assert_eq!(deaths, 0);
    let refused = expected.iter().filter(|answer| matches!(answer, Answer::Refused(64, _))).count();
    assert!((1..STATEMENTS / 10).contains(&refused), "{refused} statements failed");

    let killed = machine(place.path(), "killed");
    let mut random = Random::new(9);
    let kills: Vec<usize> =
        (0..KILLS).map(|part| (part * 2 + random.index(2)) * STATEMENTS / (KILLS * 2) + 7).collect();
    let (answers, deaths) = perform(&killed, &script, &kills);
    assert_eq!(deaths, KILLS);
    for ((message, expected), found) in script.iter().zip(&expected).zip(&answers) {
        assert_eq!(found, expected, "{message}");
    }

    assert_eq!(root(&killed), root(&undisturbed));
    let dump = send(&killed, ".dump");
    assert_eq!(dump, send(&undisturbed, ".dump"));
    assert!(dump.lines().count() > 300, "{dump}");
    for machine in [&killed, &undisturbed] {
        assert!(verify(machine) >= STATEMENTS as u64);
    }
    match native(&script) {
        Some(native) => assert!(dump == native, "{}", first_difference(&dump, &native)),
        None => not_run("comparison with native SQLite (no sqlite3)"),
    }
}

/// What `sqlite3` dumps after the script, without the end of line after the last.
fn native(script: &[String]) -> Option<String> {
    let mut shell = Command::new("sqlite3");
    shell.args(["-batch", ":memory:"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = shell.spawn().ok()?;
    let mut input = shell.stdin.take()?;
    // Selects only take time, and their rows would come before the dump.
    let changes = script.iter().filter(|message| !message.starts_with("select"));
    let text: String = changes.map(|message| format!("{message};\n")).chain([".dump\n".to_owned()]).collect();
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = shell.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let dump = String::from_utf8(output.stdout).unwrap();
    Some(dump.strip_suffix('\n').unwrap_or(&dump).to_owned())
}

fn first_difference(left: &str, right: &str) -> String {
    let lines = left.lines().zip(right.lines()).enumerate().find(|(_, (left, right))| left != right);
    match lines {
        Some((number, (left, right))) => format!("line {}:\n  {left}\n  {right}", number + 1),
        None => format!("{} lines and {} lines", left.lines().count(), right.lines().count()),
    }
}
