//! Values as text: what is printed reads back as the same value, and is the same text whenever it is printed.

use lang::compile::{Environment, run};
use lang::text::{Names, WIDTH, brief, show, show_definitions};
use lang::{Nat, Value};
use proptest::prelude::*;

use crate::common::normal;
use crate::reference::{Reference, environment};

fn read_back(text: &str, environment: &Environment) -> Value {
    let outcome = run(text, &mut environment.clone(), &mut Reference);
    outcome.unwrap_or_else(|error| panic!("{}", error.render("t", text))).values.pop().unwrap()
}

fn names(environment: &Environment) -> Names {
    let mut names = Names::default();
    environment.iter().for_each(|(name, value)| names.add(name, value));
    names
}

proptest! {
    #[test]
    fn every_value_reads_back(value in normal(), width in 10usize..100) {
        let text = show(&value, &Names::default(), width);
        let again = read_back(&text, &Environment::default());
        prop_assert_eq!(&again, &value);
        prop_assert_eq!(Value::pin(again.clone()).unwrap(), Value::pin(value.clone()).unwrap());
        prop_assert_eq!(show(&again, &Names::default(), width), text.clone());
        // What is equal prints the same, however it is held.
        let apart = lang::seedfile::read(&lang::seedfile::write(&value).unwrap()).unwrap();
        prop_assert_eq!(show(&apart, &Names::default(), width), text);
    }

    #[test]
    fn pins_of_known_names(value in normal(), other in normal()) {
        let mut environment = environment();
        environment.define("it", Value::pin(value.clone()).unwrap());
        let both = Value::row(vec![Value::pin(value).unwrap(), environment.get("add").unwrap().clone(), other]);
        let text = show(&both, &names(&environment), WIDTH);
        prop_assert!(text.contains("it") && text.contains("add"));
        prop_assert_eq!(read_back(&text, &environment), both);
    }

    #[test]
    fn the_beginning_of_a_value(value in normal(), depth in 0usize..4) {
        let brief = brief(&value, &Names::default(), WIDTH, depth);
        prop_assert_eq!(brief.is_cut, brief.text.contains('…'));
        let mut environment = Environment::default();
        value.refs().iter().for_each(|pin| environment.add_pin(&Value::Pin(pin.clone())));
        match run(&brief.text, &mut environment, &mut Reference) {
            Ok(outcome) => prop_assert!(!brief.is_cut && outcome.values == [value]),
            Err(_) => prop_assert!(brief.is_cut),
        }
    }
}

#[track_caller]
fn prints(source: &str, expected: &str) {
    let environment = environment();
    let value = read_back(source, &environment);
    let text = show(&value, &names(&environment), 60);
    assert_eq!(text, expected.strip_prefix('\n').unwrap_or(expected));
    assert_eq!(read_back(&text, &environment), value);
}

#[test]
fn shapes() {
    prints(
        r#"[12 "a\n\u{e9}" #x"00ff" #{2 1} {'b [] 'a ""} #(0 1) (law 'foo 2 1) (law 7 1 0) (law 0 4 0)]"#,
        r#"
[12
 "a\né"
 #x"00ff"
 #{1 2}
 {97 "" 98 []}
 #(0 1)
 (fn foo (a _) a)
 (law 7 1 0)
 (law 0 4 0)]
"#,
    );
    prints("(pin 7)", "(def #pin{TWO} 7)\n#pin{TWO}\n".replace("TWO", &hash(7)).as_str());
}

fn hash(word: u64) -> String {
    let Value::Pin(pin) = Value::pin(Value::word(word)).unwrap() else { panic!("a pin") };
    pin.hash().to_string()
}

/// A pin of a law is called by the law's name, if that is free; what has a name already is called by it.
#[test]
fn pins() {
    prints(
        "(def (twice f x) (f (f x))) (def (four x) (twice inc x)) [four add twice four]",
        "
(def (twice a b) (a (a b)))
(def (four a) (twice inc a))
[four add twice four]
",
    );
    let two = show(
        &read_back("[(pin (law 'f 1 0)) (pin (law 'f 1 5)) (pin (law 'let 1 0))]", &environment()),
        &Names::default(),
        200,
    );
    assert_eq!(two.matches("(def (f _) f)").count(), 1);
    assert_eq!(two.matches("(def #pin{").count(), 2);
}

/// Laws are told as functions if they are what the functions are compiled to, and by their parts if not.
#[test]
fn laws() {
    prints(
        "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2))))) (def (f x) (let (y (x 1) z (y z)) [y (z 2)])) [fib f]",
        "
(def (fib a)
  (if (lth a 2) a (add (fib (sub a 1)) (fib (sub a 2)))))
(def (f a) (let (b (a 1) c (b c)) [b (c 2)]))
[fib f]
",
    );
    let exact = [
        "(fn (a _) a)",
        "(fn f (a) (f a))",
        "(fn (a) ((inc a) a))",
        "(fn (a) [a 1 (a 2)])",
        "(fn (a) (let (b (a c) c (b c)) (b c)))",
        "(fn (_) ((law 0 3 0) 1 2))",
        "(fn (a) (a (fn (a) (a a)) #(0 1) \"text\" [1 2]))",
    ];
    for text in exact {
        let text = format!("{text}\n");
        prints(&text, &text);
    }
    // What a definition would pin is defined by its parts.
    let long =
        "(law 0 1 #(0 #(0 #(0 #(0 #(0 #(0 #(0 #(0 #(0 #(0 #(0 #(0 #(0 #(0 1 1) 1) 1) 1) 1) 1) 1) 1) 1) 1) 1) 1) 1) 1))";
    let twice = show(&read_back(&format!("[{long} [{long}]]"), &environment()), &Names::default(), 200);
    assert_eq!(twice, format!("(def $1 {long})\n[$1 [$1]]\n"));
    // A slot that is not there, no name for itself, a let that nothing uses, one that is a constant, a quote too many or too few.
    for law in [
        "(law 7 1 0)",
        "(law 0 1 0)",
        "(law 'let 1 #(0 0 1))",
        "(law 0 1 #(1 #(0 1 1) 1))",
        "(law 0 1 #(1 7 2))",
        "(law 0 1 #(2 7))",
        "(law 0 1 #(2 #(0 1)))",
    ] {
        let shown = show(&read_back(law, &environment()), &Names::default(), 60);
        assert!(law == "(law 0 1 0)" || shown.trim() == law, "{shown}");
    }
}

/// What is large and there twice is written once, however it is held.
#[test]
fn what_is_repeated() {
    let row = || Value::row((0..40).map(Value::word).collect());
    let shared = row();
    let apart = Value::row(vec![row(), Value::row(vec![row()])]);
    let together = Value::row(vec![shared.clone(), Value::row(vec![shared])]);
    let text = show(&apart, &Names::default(), 200);
    assert!(text.ends_with("\n[$1 [$1]]\n") && text.starts_with("(def $1 [0 1 2 "));
    assert_eq!(show(&together, &Names::default(), 200), text);
    assert_eq!(read_back(&text, &Environment::default()), apart);

    let doubled = (0..200).fold(Value::word(1), |value, _| Value::row(vec![value.clone(), value]));
    let text = show(&doubled, &Names::default(), WIDTH);
    assert!(text.len() < 20_000);
    assert_eq!(read_back(&text, &Environment::default()), doubled);
}

#[test]
fn deep_and_wide() {
    let deep = |levels: u32, wrap: fn(Value) -> Value| (0..levels).fold(Value::word(1), |value, _| wrap(value));
    let values = [
        deep(100_000, |value| Value::app(Value::word(0), vec![value])),
        deep(100_000, |value| Value::row(vec![Value::word(2), value, Value::word(3)])),
        deep(100_000, |value| Value::law(Nat::symbol("f"), Nat::word(1), value).unwrap()),
        deep(1000, |value| Value::pin(value).unwrap()),
        Value::row((0..100_000).map(Value::word).collect()),
        Value::Nat(Nat::from_bytes_le(&vec![0xab; 1_000_000])),
        Value::bar(&vec![b'a'; 1_000_000]),
        Value::law(Nat::from_bytes_le(&vec![0xab; 1_000_000]), Nat::word(1), Value::word(0)).unwrap(),
    ];
    for value in values {
        let text = show(&value, &Names::default(), WIDTH);
        assert!(text.len() < 20_000_000);
        assert_eq!(read_back(&text, &Environment::default()), value);
        assert!(brief(&value, &Names::default(), WIDTH, 10).text.len() < 5000);
    }
}

#[test]
fn what_is_left_out_is_marked() {
    let cases = [
        ("[1 [2 [3 [4]]]]", "[1 [2 …]]"),
        ("(law 7 1 #(0 #(0 1 2) 3))", "(law 7 1 #(0 … 3))"),
        ("[(fn f (a) (a [1 [2]])) [[1]]]", "[(fn f (a) (a …)) […]]"),
        ("{'a {'b {'c 1}}}", "{97 {98 …}}"),
    ];
    for (source, expected) in cases {
        let brief = brief(&read_back(source, &environment()), &Names::default(), WIDTH, 1);
        assert_eq!((brief.text.as_str(), brief.is_cut), (expected, true));
    }
}

/// A pin without a name is defined once, before the first that has it, and known from there on.
#[test]
fn definitions_that_have_a_pin_in_common() {
    let source = "[(pin (law 7 1 5)) (pin [2 (pin 3)]) (pin (law 7 1 5))]";
    let inner = read_back(source, &environment());
    let definitions =
        ["a", "b", "c"].map(|name| (name.to_owned(), Value::row(vec![inner.clone(), Value::bar(name.as_bytes())])));
    let text = show_definitions(&definitions, &Names::default(), 200);
    assert_eq!(text.matches("(def #pin{").count(), 3, "{text}");
    assert_eq!(text.matches("(def ").count(), 6, "{text}");
    let mut environment = Environment::default();
    run(&text, &mut environment, &mut Reference).unwrap_or_else(|error| panic!("{}", error.render("t", &text)));
    for (name, value) in &definitions {
        assert_eq!(environment.get(name), Some(value));
    }
}

/// What loses the name that it had is told by its hash, once.
#[test]
fn a_name_that_means_something_else_then() {
    let pinned = Value::pin(Value::row(vec![Value::word(7)])).unwrap();
    let named = |name: &str, value: &Value| (name.to_owned(), value.clone());
    let holder = Value::row(vec![pinned.clone()]);
    let definitions = [
        named("a", &pinned),
        named("b", &holder),
        named("a", &Value::word(1)),
        named("c", &holder),
        named("d", &holder),
    ];
    let text = show_definitions(&definitions, &Names::default(), 200);
    assert_eq!(text.matches("(def #pin{").count(), 1, "{text}");
    assert!(text.contains("(def b [a])"), "{text}");
}
