//! The examples' machines, played: what a kernel would give them, and what comes out. Time is told, and passes when nothing else does.

use std::collections::BTreeMap;

use lang::eval::Limits;
use lang::session::Session;
use lang::text::{WIDTH, show};
use lang::{Nat, Value};

const SECOND: u64 = 1_000_000_000;

/// What became of a message.
type Settled = Result<String, String>;

struct Play {
    session: Session,
    now: u64,
    /// Requests to the clock: when they are due.
    due: BTreeMap<u64, u64>,
    computing: Vec<(u64, Value)>,
    console: Vec<String>,
    traces: Vec<String>,
    settled: BTreeMap<u64, Settled>,
    replies: u64,
}

fn session() -> Session {
    let limits = Limits { heap_words: 16 << 20, stack_words: 4 << 20, ..Limits::default() };
    Session::new(limits, Box::new(|_| Err("there are no files".to_owned()))).unwrap()
}

fn text(value: &Value) -> String {
    String::from_utf8(value.as_bar().unwrap()).unwrap()
}

fn word(value: &Value) -> u64 {
    match value {
        Value::Nat(nat) => nat.to_word().unwrap(),
        other => panic!("{other:?} is no number"),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("#x\"{hex}\"")
}

fn stepping(input: &str) -> String {
    format!("(def stepped (main self {input})) (def self (idx 0 stepped)) (idx 1 stepped)")
}

/// A number in CBOR, at its longest.
fn cbor(number: u64) -> Vec<u8> {
    assert!(number >= 1 << 32, "shorter forms are other bytes");
    [&[0x1b], number.to_be_bytes().as_slice()].concat()
}

impl Play {
    fn of(example: &str) -> Self {
        let path = format!("{}/../examples/{example}/{example}.abide", env!("CARGO_MANIFEST_DIR"));
        let mut play = Self::from(&std::fs::read_to_string(path).unwrap());
        play.give("[\"boot\" [[0 \"owner\"] [1 \"console\"] [2 \"clock\"] [3 \"random\"]]]");
        play
    }

    fn from(source: &str) -> Self {
        let mut session = session();
        let outcome = session.run(source).unwrap_or_else(|error| panic!("{}", error.render("example", source)));
        assert!(outcome.assertions > 0);
        session.run("(def self start)").unwrap();
        Self {
            session,
            now: 1_000 * SECOND,
            due: BTreeMap::new(),
            computing: Vec::new(),
            console: Vec::new(),
            traces: Vec::new(),
            settled: BTreeMap::new(),
            replies: 0,
        }
    }

    /// An input that fails: it has not been.
    fn fail(&mut self, input: &str) {
        let before = self.session.environment().get("self").cloned();
        self.session.run(&stepping(input)).unwrap_err();
        assert_eq!(self.session.environment().get("self").cloned(), before);
    }

    /// One input, and all that follows from it at once.
    fn give(&mut self, input: &str) {
        let source = stepping(input);
        let outcome = self.session.run(&source);
        let outputs =
            outcome.unwrap_or_else(|error| panic!("{}", error.render("input", &source))).values.pop().unwrap();
        for output in outputs.as_row().unwrap().iter() {
            self.output(&output.as_row().unwrap().iter().collect::<Vec<_>>());
        }
    }

    fn output(&mut self, parts: &[&Value]) {
        match (text(parts[0]).as_str(), &parts[1..]) {
            ("ask", [request, port, line]) if word(request) == 0 && word(port) == 1 => self.console.push(text(line)),
            ("ask", [request, port, payload]) if word(port) == 2 => {
                let payload = payload.as_bar().unwrap();
                let due = match payload.as_slice() {
                    [0x81, 0] => self.now,
                    [0x82, 1, 0x1b, time @ ..] => u64::from_be_bytes(time.try_into().unwrap()),
                    other => panic!("{other:?} is nothing for a clock"),
                };
                assert_eq!(self.due.insert(word(request), due), None, "a request's number is not open");
            }
            ("answer", [reply, more, payload]) => {
                assert_eq!(word(more), 0);
                self.settle(word(reply), Ok(text(payload)));
            }
            ("refuse", [reply, code, why]) => {
                assert!(word(code) >= 64);
                self.settle(word(reply), Err(text(why)));
            }
            ("trace", [line]) => self.traces.push(text(line)),
            ("compute", [key, value]) => self.computing.push((word(key), (*value).clone())),
            (other, parts) => panic!("{other} {parts:?}"),
        }
    }

    fn settle(&mut self, reply: u64, how: Settled) {
        assert!(reply > 0 && reply <= self.replies, "{reply} is owed");
        assert_eq!(self.settled.insert(reply, how), None, "a reply is settled once");
    }

    fn send(&mut self, line: &str) -> u64 {
        self.replies += 1;
        self.give(&format!("[\"message\" 0 \"\" {} {}]", self.replies, quoted(line.as_bytes())));
        self.replies
    }

    /// A message, and what it is answered at once.
    fn ask(&mut self, line: &str) -> Settled {
        let reply = self.send(line);
        self.settled.get(&reply).cloned().unwrap_or_else(|| panic!("{line} is answered"))
    }

    /// Lets time pass.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds * SECOND;
        while let Some((request, due)) = self.due.iter().map(|(request, due)| (*request, *due)).min_by_key(|at| at.1) {
            if due > end {
                break;
            }
            self.due.remove(&request);
            self.now = self.now.max(due);
            self.give(&format!("[\"answer\" {request} 0 {}]", quoted(&cbor(self.now))));
        }
        self.now = end;
    }

    /// What was to be computed is.
    fn compute(&mut self) {
        for (key, value) in std::mem::take(&mut self.computing) {
            let value = show(&value, &self.session.names(), WIDTH);
            self.give(&format!("[\"computed\" {key} {value}]"));
        }
    }

    /// Goes on from what its self prints as, with nothing else of the session it was in.
    fn move_on(&mut self) {
        let own = self.session.environment();
        let (main, itself) = (own.get("main").unwrap(), own.get("self").unwrap());
        let both = Value::row(vec![main.clone(), itself.clone()]);
        let mut session = session();
        let printed = show(&both, &session.names(), WIDTH);
        let read = session.run(&printed).unwrap_or_else(|error| panic!("{}", error.render("printed", &printed)));
        assert_eq!(read.values.last(), Some(&both));
        let form = printed.rfind("\n[").map_or(0, |at| at + 1);
        session.run(&format!("(def both {})", &printed[form..])).unwrap();
        session.run("(def main (idx 0 both)) (def self (idx 1 both))").unwrap();
        self.session = session;
    }
}

#[test]
fn the_counter_counts_seconds() {
    let mut play = Play::of("counter");
    play.pass(2);
    assert_eq!(play.console, ["counter is at 1", "counter is at 2", "counter is at 3"]);
    assert_eq!(play.ask(""), Ok("3".to_owned()));
    play.session.run("(def self (insert \"step\" 10 self))").unwrap();
    play.move_on();
    play.pass(1);
    assert_eq!(play.console[3..], ["counter is at 13"]);
    // Without a clock it asks no more, until it is granted one.
    play.due.clear();
    play.give("[\"broken\" 1 4 \"not granted\"]");
    play.pass(5);
    assert_eq!(play.console.len(), 4);
    play.give("[\"grants\" []]");
    play.pass(1);
    assert_eq!(play.console[4..], ["counter is at 23", "counter is at 33"]);
}

#[test]
fn the_counter_counts_while_a_number_is_computed() {
    let mut play = Play::of("fib");
    play.pass(3);
    let slow = play.send("24");
    assert_eq!(play.ask("many"), Err("send a number".to_owned()));
    play.pass(2);
    // Half done, with threads that wait for the clock, for a message and for a number.
    play.move_on();
    play.pass(1);
    assert_eq!(play.console.len(), 6);
    assert_eq!(play.settled.get(&slow), None);
    play.compute();
    assert_eq!(play.settled[&slow], Ok("46368".to_owned()));
    assert_eq!(play.console[5..], ["counter is at 6", "fib 24 is 46368"]);
    // Whoever has gone is not answered, and others are.
    let gone = play.send("10");
    play.give(&format!("[\"gone\" {gone}]"));
    let there = play.send("11");
    play.compute();
    assert_eq!((play.settled.get(&gone), &play.settled[&there]), (None, &Ok("89".to_owned())));
}

#[test]
fn whoever_asks_for_too_much_is_refused() {
    let mut play = Play::of("fib");
    // Small enough to be shown here: what would come of it is never asked.
    let (much, little) = (play.send("25"), play.send("11"));
    let (key, _) = play.computing.remove(0);
    play.give(&format!("[\"failed\" {key} \"deeper than it may be\"]"));
    assert_eq!(play.settled[&much], Err("deeper than it may be".to_owned()));
    assert_eq!(play.traces, ["a thread ended: deeper than it may be (0)"]);
    play.compute();
    assert_eq!(play.settled[&little], Ok("89".to_owned()));
    play.pass(2);
    assert_eq!(play.console.last().unwrap(), "counter is at 2");
}

#[test]
fn money_only_moves() {
    let mut play = Play::of("bank");
    let mut dice = 7u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut model: BTreeMap<String, u64> = BTreeMap::from([("bank".to_owned(), 1_000_000)]);
    let name = |number: u64| if number == 0 { "bank".to_owned() } else { format!("a{number}") };
    let mut refused = 0;
    for turn in 0..200 {
        let (from, to, n) = (name(roll(7)), name(roll(7)), roll(400_000));
        let known = model.contains_key(&from) && model.contains_key(&to);
        let line = if roll(4) == 0 { format!("open {to}") } else { format!("move {n} {from} {to}") };
        let is_open = line.starts_with("open");
        let expected = if is_open { !model.contains_key(&to) } else { known && model[&from] >= n };
        assert_eq!(play.ask(&line).is_ok(), expected, "{line} {model:?}");
        match (expected, is_open) {
            (false, _) => refused += 1,
            (true, true) => drop(model.insert(to, 0)),
            (true, false) => {
                *model.get_mut(&from).unwrap() -= n;
                *model.get_mut(&to).unwrap() += n;
            }
        }
        if turn % 20 == 0 {
            assert_eq!(play.ask("total"), Ok("1000000".to_owned()));
        }
    }
    assert!((20..180).contains(&refused), "{refused}");
    play.move_on();
    for (name, n) in &model {
        assert_eq!(play.ask(&format!("balance {name}")), Ok(n.to_string()));
    }
    for nonsense in ["", "move", "move x bank bank", "open", "move -1 bank bank", "total total"] {
        assert!(play.ask(nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn what_is_said_is_read_once_by_all_others() {
    let mut play = Play::of("chat");
    for name in ["ann", "bob", "eve"] {
        assert_eq!(play.ask(&format!("join {name}")), Ok(format!("welcome, {name}")));
    }
    assert_eq!(play.ask("say ann  hello there"), Ok("said".to_owned()));
    play.move_on();
    assert_eq!(play.ask("read eve"), Ok("ann: hello there".to_owned()));
    assert_eq!(play.ask("read eve"), Ok(String::new()));
    assert_eq!(play.ask("read bob"), Ok("eve has joined\nann: hello there".to_owned()));
    assert_eq!(play.ask("read ann"), Ok("bob has joined\neve has joined".to_owned()));
    assert_eq!(play.ask("read sam"), Err("join first".to_owned()));
    assert!(play.ask("shout bob x").is_err());
}

/// A machine of threads that nothing has happened to for long has nothing left of what happened.
#[test]
fn threads_that_end_leave_nothing() {
    let program = "
        (def one (fn (m) (do (c <- channel) (fork (put-on c 1)) (v <- (take-from c)) (t <- now) (reply m (text v)))))
        (def start (threads {} (forever (do (m <- receive) (fork (one m))))))
        (def main run-threads)
        (assert 1)";
    let mut play = Play::from(program);
    play.give("[\"boot\" []]");
    let size = |play: &Play| show(play.session.environment().get("self").unwrap(), &play.session.names(), WIDTH).len();
    for _ in 0..30 {
        let reply = play.send("x");
        play.pass(0);
        assert_eq!(play.settled[&reply], Ok("1".to_owned()));
    }
    // The counter of requests has grown by digits.
    let settled = size(&play);
    for _ in 0..60 {
        play.send("x");
        play.pass(0);
    }
    assert!(size(&play) <= settled + 2, "{} and then {}", settled, size(&play));
    assert_eq!(play.session.run("(len (at \"threads\" self))").unwrap().values, [Value::Nat(Nat::word(7))]);
}

/// A thread that crashes with what it waited for hears that it broke, as the kernel then says: who asked is refused, and nothing of it stays.
#[test]
fn a_thread_that_crashes_ends() {
    let program = "
        (def (one m) (do
          (result <- (case (idx 3 m) \"time\" (try-ask clock (cbor [0])) _ (try-compute 5)))
          (v <- (or-refuse m result))
          (case v 6 (reply m \"six\"))))
        (def start (threads {} (forever (do (m <- receive) (fork (one m))))))
        (def main run-threads)
        (assert 1)";
    let mut play = Play::from(program);
    play.give("[\"boot\" []]");
    let (timed, computed) = (play.send("time"), play.send("five"));
    let (request, (key, _)) = (play.due.pop_first().unwrap().0, play.computing.remove(0));
    play.fail(&format!("[\"answer\" {request} 0 \"\"]"));
    play.give(&format!("[\"broken\" {request} 2 \"dealing with an answer failed\"]"));
    play.fail(&format!("[\"computed\" {key} 5]"));
    play.give(&format!("[\"failed\" {key} \"dealing with what was computed failed\"]"));
    assert_eq!(play.settled[&timed], Err("dealing with an answer failed".to_owned()));
    assert_eq!(play.settled[&computed], Err("dealing with what was computed failed".to_owned()));
    assert_eq!(play.traces.len(), 2);
    let left = "(let (kept (at \"threads\" self)) [(table-len (idx 1 kept)) (set-len (idx 5 kept))])";
    assert_eq!(play.session.run(left).unwrap().values, [Value::row(vec![Value::word(0), Value::word(0)])]);
}
