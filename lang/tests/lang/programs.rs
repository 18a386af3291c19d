//! Programs: that what is compiled means what it says, and what is said of programs that mean nothing.

use lang::compile::{Outcome, run};
use lang::{Nat, Value};

use crate::reference::{Reference, environment};

fn outcome(source: &str) -> Outcome {
    run(source, &mut environment(), &mut Reference).unwrap_or_else(|error| panic!("{}", error.render("t", source)))
}

/// The assertions of a text hold, all of them.
#[track_caller]
fn holds(source: &str) {
    let outcome = outcome(source);
    assert_eq!(outcome.assertions, source.matches("(assert").count());
}

fn value(source: &str) -> Value {
    outcome(source).values.pop().unwrap()
}

#[test]
fn data() {
    holds(
        r#"
        (assert-eq 0x10 16) (assert-eq 1_000 1000)
        (assert-eq "ab" #x"6162") (assert-eq "\n\t\"\\\u{e9}" #x"0a09225cc3a9")
        (assert-eq 'ab 0x6261)
        (assert-eq '(add 1 x) ['add 1 'x]) (assert-eq (quote [a]) ['a]) (assert-eq ''a ['quote 'a])
        (assert-eq [] (law 0 1 0)) (assert-eq [1 2] #((law 0 3 0) 2 1))
        (assert-eq #{3 1 2} (law 1 2 [1 2 3])) (assert-eq {2 'b 1 'a} #(#{1 2} ['a 'b]))
        (assert-eq "" (law 1 1 1))
        (assert-eq #(0 1) (0 1)) (assert-eq (law 'f 2 1) (0 'f 2 1))
        (assert-eq (pin 7) (4 7)) (assert-eq (pin (add 3 4)) (4 7))
        (assert-eq [(add 1 2) 4] [3 4]) (assert-eq {1 (add 1 1) 0 "x"} {0 "x" 1 2})
        #_(no)
        (assert 1)
        "#,
    );
}

#[test]
fn functions() {
    holds(
        "
        (def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
        (assert-eq (fib 15) 610)
        (def const (fn (a b) a))
        (assert-eq (const 1 2) 1) (assert-eq ((const 5) 6) 5) (assert-eq ((fn (_ _) 3) 1 2) 3)
        (def (adder n) (fn (x) (add x n)))
        (assert-eq ((adder 3) 4) 7) (assert-eq (((fn (a) (fn (b) (fn (c) [a b c]))) 1) 2 3) [1 2 3])
        (def five 5) (def also five)
        (assert-eq (add five also) 10)
        (assert-eq ((fn loop (n) (if n (loop (sub n 1)) 'end)) 3) 'end)
        ; a function within one, that calls itself and uses what is around it
        (def (sum-to n) (let (go (fn (i acc) (if (lth n i) acc (go (inc i) (add acc i))))) (go 0 0)))
        (assert-eq (sum-to 10) 55)
        ; and one that uses the function around it
        (def (count n) (let (below (fn (_) (count (sub n 1)))) (if n (inc (below 0)) 0)))
        (assert-eq (count 4) 4)
        (def (even n) (let (e (fn (n) (if n (o (sub n 1)) 1)) o (fn (n) (if n (e (sub n 1)) 0))) (e n)))
        (assert-eq [(even 10) (even 7)] [1 0])
        (assert-eq ((fn (fib) fib) 3) 3)
        ; with so much around it that it is given that once
        (def (wide a b c d e f g h i j k l m n o p)
          (let (go (fn (x) (if x [MANY (go (sub x 1)) CALLS] 0))) (idx 1 (go 2))))
        (assert-eq (wide 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16) 16)
        "
        .replace("MANY", "a b c d e f g h i j k l m n o p")
        .replace("idx 1", "idx 15")
        .replace("CALLS", &"(go 0) ".repeat(100))
        .as_str(),
    );
}

#[test]
fn lets() {
    holds(
        "
        (assert-eq (let (x 1 y (add x 1)) [x y]) [1 2])
        ; later ones can be used by earlier ones, and what is not used is not evaluated
        (assert-eq (let (y (add x 1) x 1 z (die 0)) [x y]) [1 2])
        (assert-eq (let (x 1) (let (x (inc 5)) x)) 6)
        (assert-eq (let (x 1) [(let (x 2) x) x]) [2 1])
        (assert-eq (idx 1 (let (r [1 (idx 0 r)]) r)) 1)
        (assert-eq (let (f (fn (a) (let (b (inc a)) (let (c (inc b)) [a b c])))) (f 1)) [1 2 3])
        (assert-eq ((fn (a) (let (f (fn (b) (let (g (fn (c) [a b c])) (g 3)))) (f 2))) 1) [1 2 3])
        "
        .replace("(die 0)", "('die 0)")
        .as_str(),
    );
}

#[test]
fn cases() {
    holds(
        r#"
        (def (f x) (case x 0 'zero 1 'one "a" 'text 'tag 'tag [] 'empty [0 y] ['zero-and y] [a [b _] 'c] [b a] [_] 'single n [n]))
        (assert-eq (f 0) 'zero) (assert-eq (f 1) 'one) (assert-eq (f "a") 'text) (assert-eq (f 'tag) 'tag)
        (assert-eq (f []) 'empty) (assert-eq (f [0 5]) ['zero-and 5]) (assert-eq (f [1 [2 3] 'c]) [2 1])
        (assert-eq (f [1 [2 3] 'd]) [[1 [2 3] 'd]]) (assert-eq (f [7]) 'single) (assert-eq (f 9) [9])
        (def (size t) (case t ['leaf _] 1 ['node l r] (add (size l) (size r))))
        (assert-eq (size ['node ['leaf 1] ['node ['leaf 2] ['leaf 3]]]) 3)
        (assert-eq (case (add 1 1) 2 (case 3 3 'in _ 'no) _ 'out) 'in)
        (assert-eq ((case 1 1 (fn (x) (inc x)) _ 0) 1) 2)
        (assert-eq ((fn (v) (case v [a b] (fn (c) [a b c]))) [1 2] 3) [1 2 3])
        "#,
    );
    let error = run("(case 5 1 2)", &mut environment(), &mut Reference).unwrap_err();
    assert_eq!(error.to_string(), "evaluating this failed: crash 1702060387 5");
    assert_eq!(Nat::symbol("case").to_string(), "1702060387");
}

/// Constants that would be taken for slots or terms are quoted; the laws are those that one would write by hand.
#[test]
fn laws() {
    let cases = [
        ("(fn (a b) a)", "(law 0 2 1)"),
        ("(fn (a b) 2)", "(law 0 2 #(2 2))"),
        ("(fn (a b) 3)", "(law 0 2 3)"),
        ("(fn f (a b) (f b a))", "(law 'f 2 #(0 #(0 0 2) 1))"),
        ("(fn (a) #(0 1))", "(law 0 1 #(0 1))"),
        ("(fn (a) #(0 1 1))", "(law 0 1 #(2 #(0 1 1)))"),
        ("(fn (a) #(2 1))", "(law 0 1 #(2 #(2 1)))"),
        ("(fn (a) #(2 1 1))", "(law 0 1 #(2 1 1))"),
        ("(fn (a) #(1 1 1))", "(law 0 1 #(2 #(1 1 1)))"),
        ("(fn (a) (a \"x\"))", "(law 0 1 #(0 1 \"x\"))"),
        // Slots: itself, a, then the lets.
        ("(fn (a) (let (x (a 2) y (a x)) (x y)))", "(law 0 1 #(1 #(0 1 #(2 2)) #(1 #(0 1 2) #(0 2 3))))"),
        // What is used around a function comes first.
        ("(fn (a) (fn (b) (b a)))", "(law 0 1 #(0 (law 0 2 #(0 2 1)) 1))"),
        ("(fn (a) (let (f (fn (b) ((f a) b))) f))", "(law 0 1 #(1 #(0 (law 'f 2 #(0 #(0 #(0 0 1) 1) 2)) 1) 2))"),
        // A function that uses nothing is a constant, and so is what is let be one.
        ("(fn (a) (let (k 7 i (fn (x) x)) (i k)))", "(law 0 1 #(0 (law 'i 1 1) 7))"),
        ("(fn (a) [a 1])", "(law 0 1 #(0 #(0 (law 0 3 0) #(2 1)) 1))"),
        ("(fn (a) {1 a})", "(law 0 1 #(0 #{1} #(0 (law 0 2 0) 1)))"),
        ("(fn (a) (pin a))", "(law 0 1 #(0 4 1))"),
    ];
    for (function, law) in cases {
        assert_eq!(value(function), value(law), "{function}");
    }
    assert_eq!(value("(def (f a) (f a)) f"), value("(pin (law 'f 1 #(0 0 1)))"));
    assert_eq!(value("(def f (fn (a) (f a))) f"), value("(pin (law 'f 1 #(0 0 1)))"));
}

#[test]
fn imports() {
    assert_eq!(value(r#"(import "pair") [first second]"#), value("[1 2]"));
    assert_eq!(value(r#"(import "pair" second) second"#), value("2"));
    assert_eq!(outcome("(def a 1) (def (b x) a)").definitions.len(), 2);
}

/// What is said, with the column and the hint.
#[test]
fn errors() {
    let hash = "1".repeat(32);
    let Value::Pin(own) = Value::pin(Value::word(1)).unwrap() else { panic!("a pin") };
    let own = own.hash();
    let cases = [
        ("(ad 1 2)", "1:2 nothing is named `ad` / did you mean `add`?"),
        ("(fn (banana) bananna)", "1:14 nothing is named `bananna` / did you mean `banana`?"),
        ("quite-unlike", "1:1 nothing is named `quite-unlike`"),
        (
            "(def (f x) (g x)) (def (g x) x)",
            "1:13 nothing is named `g` / it is defined further down: definitions come before what uses them, and functions that use each other go in one `let` (as `g` can)",
        ),
        ("(def a 1) (def a 2)", "1:11 `a` is defined twice"),
        ("(fn (a b a) a)", "1:10 `a` is defined twice"),
        ("(let (a 1 a 2) a)", "1:11 `a` is defined twice"),
        ("(case [1 1] [a a] 1 _ 2)", "1:16 `a` is defined twice"),
        ("(import \"pair\") (def first 1)", "1:17 `first` is defined twice"),
        ("(import \"pair\" frist)", "1:16 nothing is named `frist` / did you mean `first`?"),
        ("(import \"none\")", "1:1 importing none failed: there is no such file"),
        ("(import none)", "1:1 this is not how `import` is written"),
        ("(add 1 2 3)", "1:2 `add` takes 2 arguments, and is given 3 / to apply what it gives, write ((f a) b)"),
        (
            "(let (f (fn (x) x)) (f 1 2))",
            "1:22 `f` takes 1 argument, and is given 2 / to apply what it gives, write ((f a) b)",
        ),
        ("(add)", "1:1 a function is applied to something / without the brackets it is the function itself"),
        ("()", "1:1 an empty list means nothing"),
        ("(fn () 1)", "1:5 a function has parameters / (def name value) defines a value; (fn (_) ..) takes anything"),
        ("(def (f) 1)", "1:6 a function has parameters / (def name value) defines a value; (fn (_) ..) takes anything"),
        ("(fn x)", "1:1 this is not how `fn` is written"),
        ("(let (a) a)", "1:6 this is not how `let` is written"),
        ("(let (a 1) a a)", "1:1 this is not how `let` is written"),
        ("(case 1 2)", "1:1 this is not how `case` is written"),
        ("(pin 1 2)", "1:1 this is not how `pin` is written"),
        ("(law 1 2)", "1:1 this is not how `law` is written"),
        ("(def 1 2)", "1:6 this is no name"),
        ("(def let 2)", "1:6 `let` is a word of the language and names nothing / as data it is written 'let"),
        ("[let]", "1:2 `let` is a word of the language and names nothing / as data it is written 'let"),
        ("(add 1 (def x 2))", "1:9 `def` stands outermost in a file only / as data it is written 'def"),
        ("(case 1 _ 2 3 4)", "1:13 this case is never reached"),
        ("(case 1 (f) 2 _ 3)", "1:9 this is no pattern"),
        ("{1}", "1:2 a key of this table has no value"),
        ("'{1}", "1:2 a key of this table has no value"),
        ("{1 2 1 3}", "1:1 a key is twice in one"),
        ("#{1 1}", "1:1 an element is twice in one"),
        ("(fn (a) #{a})", "1:11 a set's elements cannot depend on anything that is only known later"),
        ("(fn (a) {a 1})", "1:10 a table's keys cannot depend on anything that is only known later"),
        ("(fn (a) #(0 a))", "1:13 the parts of #(..) cannot depend on anything that is only known later"),
        (
            "#(3 1)",
            "1:1 this application has all its arguments: it is no value, but what it comes to is one / (f x) is what it comes to",
        ),
        ("#(3)", "1:1 this is not how `#(` is written"),
        ("#(#(0 1) 2)", "1:1 this is not how `#(` is written"),
        ("(law 1 0 1)", "1:1 a law takes an argument at least"),
        ("(law [] 1 1)", "1:1 a law's name and arity are numbers"),
        (
            &format!("#pin{{{hash}}}"),
            "1:1 no pin of this hash is known here / (def #pin{..} content) before it makes it known",
        ),
        (&format!("(def #pin{{{hash}}} 1)"), &format!("1:1 this has another hash: {own}")),
        (
            "[1 …]",
            "1:4 what stood here was left out when this was printed / print it with more depth, or save it to a file",
        ),
        ("(assert 0)", "1:1 this does not hold: it is 0"),
        ("(assert [])", "1:1 this does not hold: it is []"),
        ("(assert-eq (add 1 2) 4)", "1:1 these are not equal"),
        ("(assert-eq 1)", "1:1 this is not how `assert-eq` is written"),
        ("(5 6)", "1:1 evaluating this failed: crash 5 6"),
    ];
    for (source, expected) in cases {
        let error = run(source, &mut environment(), &mut Reference).unwrap_err();
        let text = error.render("t", source);
        let place = text.split(": ").next().unwrap().strip_prefix("t:").unwrap();
        let hint = error.problem.hint().map(|hint| format!(" / {hint}")).unwrap_or_default();
        assert_eq!(format!("{place} {error}{hint}"), expected, "{source}");
    }
    let mut bare = lang::compile::Environment::default();
    let error = run("(case 1 1 2 _ 3)", &mut bare, &mut Reference).unwrap_err();
    assert_eq!(error.to_string(), "`case` needs the function `eql`, which is not there");
}

/// What forms use is what the base had, whatever has its names since.
#[test]
fn names_of_the_base_can_be_taken() {
    holds("(def (len x) 77) (def (if a b c) 5) (assert-eq (case [1] [a] a _ 0) 1) (assert-eq (if 1 2 3) 5)");
}

/// Depth of a text costs nothing but its length.
#[test]
fn deep_programs() {
    let nested = |open: &str, inner: &str, close: &str, count: usize| {
        [open.repeat(count), inner.to_owned(), close.repeat(count)].concat()
    };
    let compiles = |source: &str| run(source, &mut environment(), &mut Lazy);
    for (open, close) in [
        ("(inc ", ")"),
        ("[", "]"),
        ("(let (x 1) ", ")"),
        ("#(0 ", ")"),
        ("(law 1 1 ", ")"),
        ("(case 1 0 ", " _ 2)"),
        ("'(", ")"),
        ("{0 ", "}"),
    ] {
        assert!(compiles(&nested(open, "1", close, 100_000)).is_ok(), "{open}");
    }
    let error = compiles(&nested("(fn (x) ", "x", ")", 1000)).unwrap_err();
    assert_eq!(error.to_string(), "functions are nested too deeply here");
    assert!(compiles(&nested("(fn (x) ", "x", ")", 250)).is_ok());
    // A function that calls itself many times and uses much around it.
    let names: String = (0..5000).map(|index| format!("a{index} ")).collect();
    let calls = "(go x) ".repeat(5000);
    assert!(compiles(&format!("(fn ({names}) (fn go (x) [{names} {calls}]))")).is_ok());
    // Many variables of one function used in another.
    let names: String = (0..20_000).map(|index| format!("a{index} ")).collect();
    assert!(compiles(&format!("(fn ({names}) (fn (x) [{names}]))")).is_ok());
}

/// Evaluates nothing.
struct Lazy;

impl lang::compile::Host for Lazy {
    fn evaluate(&mut self, redex: Value) -> Result<Value, String> {
        Ok(redex)
    }

    fn import(&mut self, _: &str) -> Result<Vec<(String, Value)>, String> {
        Ok(Vec::new())
    }
}
