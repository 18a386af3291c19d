//! Sessions: the base library with the evaluator, and what is said of texts that go wrong there.

use lang::Value;
use lang::eval::Limits;
use lang::session::{Session, Turn};

fn limits() -> Limits {
    Limits { heap_words: 8 << 20, stack_words: 4 << 20, ..Limits::default() }
}

fn session(files: &'static [(&'static str, &'static str)]) -> Session {
    let find = |name: &str| {
        let file = files.iter().find(|(known, _)| *known == name);
        file.map(|(_, source)| (*source).to_owned()).ok_or_else(|| "there is no such file".to_owned())
    };
    Session::new(limits(), Box::new(find)).unwrap()
}

fn value(source: &str) -> Value {
    match session(&[]).run(source) {
        Ok(mut outcome) => outcome.values.pop().unwrap(),
        Err(error) => panic!("{}", error.render("t", source)),
    }
}

#[test]
fn the_first_minute() {
    assert_eq!(value("(add 2 (mul 3 100000000000000000000))").to_owned(), value("300000000000000000002"));
    let fib = "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2))))) (fib 20)";
    assert_eq!(value(fib), Value::word(6765));
    assert_eq!(value("(bytes-len (join \", \" (map show-nat (range 1000))))"), Value::word(4888));
    assert_eq!(value("(table-len (from-entries (gen 2000 (fn (i) [(mod (mul i 7919) 1999) i]))))"), Value::word(1999));
    // A million levels deep.
    assert_eq!(value("(def (count n) (if n (inc (count (sub n 1))) 0)) (count 300000)"), Value::word(300_000));
}

#[test]
fn what_is_defined_stays_defined() {
    let mut session = session(&[]);
    session.run("(def step 10)").unwrap();
    assert!(session.run("(def (next n) (add n step)) (nonsense)").is_err());
    assert_eq!(session.run("(next 1)").unwrap().values, [Value::word(11)]);
    // A definition can be replaced; what was made of it before keeps what it was made of.
    session.run("(def step 100)").unwrap();
    assert_eq!(session.run("[(next 1) step]").unwrap().values, [value("[11 100]")]);
}

#[test]
fn files() {
    let mut session = session(&[
        ("a", "(import \"b\" twice) (def (four n) (twice (twice n)))"),
        ("b", "(def (twice n) (mul 2 n)) (assert-eq (twice 2) 4)"),
        ("loop", "(import \"loop\")"),
        ("bad", "(def x 1)\n(assert-eq x 2)"),
    ]);
    assert_eq!(session.run("(import \"a\") (four 3)").unwrap().values, [Value::word(12)]);
    let mut error = |source: &str| session.run(source).unwrap_err().to_string();
    assert_eq!(error("(twice 1)"), "nothing is named `twice`");
    assert_eq!(error("(import \"none\")"), "importing none failed: there is no such file");
    assert!(error("(import \"loop\")").contains("it imports itself"));
    assert!(error("(import \"bad\")").contains("bad:2:1: these are not equal"));
}

#[test]
fn what_goes_wrong_is_told() {
    let mut session = session(&[]);
    let mut error = |source: &str| session.run(source).unwrap_err().to_string();
    let crash = error("(def (f x) (inc (die \"no\"))) (def (g x) (add 1 (f x))) (g 1)");
    assert!(crash.starts_with("evaluating this failed: it crashed: die \"no\""), "{crash}");
    assert!(crash.contains(", in f") && crash.contains(", in g"), "{crash}");
    assert!(error("(let (x (inc x)) x)").contains("needs itself"));
    assert!(error("(let (x [x]) x)").contains("contains itself"));
    assert!(error("(def (deep n) (inc (deep n))) (deep 0)").contains("deeper than it may be"));
    assert!(error("(def (wide n m) (wide (inc n) [n m])) (wide 0 0)").contains("more memory than they may"));
    assert!(error("(bex (bex 99))").contains("too large"));
    // And the session goes on.
    assert_eq!(session.run("(inc 1)").unwrap().values, [Value::word(2)]);
}

#[test]
fn steps_one_after_another() {
    assert_eq!(value("((do (a <- (give 2)) (give 7) (b = (add a 1)) (give [a b])) id)"), value("[2 3]"));
    // A let of a `do` may use itself, and hides nothing outside.
    assert_eq!(value("(def b 5) [((do (b = (fn go (n) (if n (go (dec n)) 9))) (give (b 3))) id) b]"), value("[9 5]"));
    // What goes on for long goes no deeper.
    let long = "(def (turn n) (do (m <- (give (dec n))) (if m (turn m) (give \"end\")))) ((turn 1_000_000) id)";
    let limits = Limits { stack_words: 1 << 14, ..limits() };
    let mut session = Session::new(limits, Box::new(|_| Err("there are no files".to_owned()))).unwrap();
    assert_eq!(session.run(long).unwrap().values, [Value::bar(b"end")]);
    let mut error = |source: &str| session.run(source).unwrap_err().to_string();
    for misshapen in ["(do)", "(do (a <- (give 1)))", "(do (give 1) (a = 1))"] {
        assert_eq!(error(misshapen), "this is not how `do` is written", "{misshapen}");
    }
    assert_eq!(error("(do (2 <- (give 1)) (give 1))"), error("(let (2 1) 1)"));
    assert_eq!(error("(do (a <- (give 1)) (give c))"), "nothing is named `c`");
    // The limit that docs/lang.md tells; what is defined there is no function within.
    let many = |steps: usize| format!("(do {} (b = 1) (give 1))", "(a <- (give 1)) ".repeat(steps));
    assert_eq!(error(&many(250)), "functions are nested too deeply here");
    assert_eq!(value(&format!("({} id)", many(249))), Value::word(1));
}

/// What JSON has nothing for is a crash, and not something else.
#[test]
fn what_json_has_nothing_for() {
    for nothing in ["{1 2 3 4}", "{\"a\" 1 [] 2}", "#x\"ff\"", "[{#x\"c3\" 1}]", "id", "#{1}"] {
        let error = session(&[]).run(&format!("(show-json {nothing})")).unwrap_err().to_string();
        assert!(error.contains("it crashed: die ["), "{nothing}: {error}");
    }
    assert_eq!(value("(show-json {\"é\" [] \"\" {}})"), Value::bar("{\"\":{},\"é\":[]}".as_bytes()));
}

/// How many steps a text takes.
fn steps(source: &str) -> u64 {
    let mut session = session(&[]);
    let mut evaluation = session.begin_program(source).unwrap();
    match session.advance(&mut evaluation, u64::MAX) {
        Ok(Turn::Done(_)) => evaluation.steps(),
        Ok(_) => panic!("{source} goes on"),
        Err(error) => panic!("{}", error.render("t", source)),
    }
}

/// What is four times as long takes not ten times as many steps.
#[test]
fn texts_take_as_long_as_they_are() {
    let spaces = "(bytes-cat (replicate N \" \"))";
    let digits = "(bytes-cat (replicate N \"7\"))";
    let cases = [
        "(assert-eq (trim (bytes-cat [SPACES \"x\" SPACES])) \"x\")",
        "(assert (first (parse-nat DIGITS)))",
        "(assert (bytes-len (show-nat (pow 10 N))))",
        "(assert-eq (utf8-end SPACES) N)",
        "(assert (is-ok (parse-json (bytes-cat [SPACES \"1\" SPACES]))))",
    ];
    for case in cases {
        let of = |n: u64| steps(&case.replace("SPACES", spaces).replace("DIGITS", digits).replace('N', &n.to_string()));
        let (short, long) = (of(10_000), of(40_000));
        assert!(long < 10 * short, "{case}: {short} and {long}");
    }
}

/// Large numbers do not go through the nursery: a loop over them took many times the heap's limit before anything was collected, and a machine that
/// has no more memory than that ended for good.
#[test]
fn large_numbers_keep_to_the_limit_of_the_heap() {
    let most = limits().heap_words + limits().heap_words / 16;
    for made in ["(add k n)", "(law-body (bytes-weld b (nat-bytes n)))", "(bex (add 800000 n))"] {
        let mut session = session(&[]);
        let source = format!(
            "(def (go n k b) (if n (seq {made} (go (dec n) k b)) 0)) (go 2000 (bex 800000) (nat-bytes (bex 800000)))"
        );
        assert_eq!(session.run(&source).unwrap().values, [Value::word(0)], "{made}");
        let words = session.machine().usage().heap_words;
        assert!(words <= most, "{made}: {words} words");
        // What is dead is used again long before the limit: each new page is one more that a machine saves.
        assert!(words <= 1 << 20, "{made}: {words} words");
    }
    let error = session(&[]).run("(len (gen 1000 (fn (i) (let (k (bex (add 6400000 i))) (seq k k)))))");
    assert!(error.is_ok(), "nothing of it is alive: {}", error.unwrap_err());
    let error = session(&[]).run("(let (all (gen 1000 (fn (i) (bex (add 6400000 i))))) (force all (len all)))");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("more memory"), "all of it is: {error}");
}

/// Work that counts as nothing makes a slice of a machine as long as it likes.
#[test]
fn comparing_counts_by_what_is_looked_at() {
    let words = 100_000;
    for (same, at_least) in [
        ("(lth a b)", words / 64),
        ("(eql a b)", words / 64),
        ("(max a b)", words / 64),
        ("(eql c d)", words / 64),
        ("(starts-with c d)", words * 8 / 128),
        ("(at a (insert b 1 {}))", words / 64),
    ] {
        let mut session = session(&[]);
        let bits = words * 64;
        let both = format!("(bex {bits}) (bex {bits}) (nat-bytes (bex {bits})) (nat-bytes (bex {bits}))");
        let steps = |session: &mut Session, what: &str| {
            let before = session.machine().usage().steps;
            let source = format!("(def (go n a b c d) (if n (seq {what} (go (dec n) a b c d)) 0)) (go 50 {both})");
            session.run(&source).unwrap();
            session.machine().usage().steps - before
        };
        let idle = steps(&mut session, "n");
        let busy = steps(&mut session, same);
        assert!(busy - idle >= 50 * at_least, "{same}: {} steps", busy - idle);
    }
}

/// One large part was all that was told of a crash, and not even truly.
#[test]
fn what_is_too_large_to_be_shown_hides_nothing_else() {
    for (part, told) in [
        ("(bex 5000000)", "[1 \"… a number of 78126 words of 64 bits\"]"),
        ("(pin (range 70000))", "[1 \"… a pin that is too large to be shown\"]"),
    ] {
        let error = session(&[]).run(&format!("(die [1 {part}])")).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}
