//! Reading and laying out text: what is read, what is said of what cannot be read, and that layout changes nothing.

use lang::text::{FormId, Forms, Kind, Problem, WIDTH, format, read};
use proptest::prelude::*;

/// Forms without their layout: kinds and atoms, in order, and where each form ends.
fn skeleton(forms: &Forms) -> Vec<String> {
    let mut out = Vec::new();
    let mut left: Vec<Option<FormId>> = forms.top().iter().rev().map(|id| Some(*id)).collect();
    while let Some(id) = left.pop() {
        let Some(id) = id else {
            out.push("end".to_owned());
            continue;
        };
        let kids = forms.kids(id);
        match kids.is_empty()
            && !matches!(forms.kind(id), Kind::List | Kind::Row | Kind::Table | Kind::Set | Kind::Frozen)
        {
            true => out.push(forms.text(id).to_owned()),
            false => out.push(format!("{:?}", forms.kind(id))),
        }
        left.push(None);
        left.extend(kids.iter().rev().map(|id| Some(*id)));
    }
    out
}

#[track_caller]
fn lays_out(source: &str, expected: &str) {
    let once = format(source, 40).unwrap();
    assert_eq!(once, expected.strip_prefix('\n').unwrap_or(expected));
    assert_eq!(format(&once, 40).unwrap(), once);
}

#[test]
fn short_forms_stay_on_a_line() {
    lays_out("( f  x\n\ty )", "(f x y)\n");
    lays_out("  [ 1 2\n3]\n", "[1 2 3]\n");
    lays_out("{ 'a 1 'b  0x1 }", "{'a 1 'b 0x1}\n");
}

#[test]
fn definitions_keep_their_names() {
    lays_out(
        "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))",
        "
(def (fib n)
  (if (lth n 2)
    n
    (add (fib (sub n 1))
      (fib (sub n 2)))))
",
    );
    lays_out(
        "(def (g x) (let (aaaaaaaaa (f x) bbbbbbbbbbb (g x)) (case aaaaaaaaa 0 bbbbbbbbbbb [p q] (add p q) _ 0)))",
        "
(def (g x)
  (let (aaaaaaaaa (f x)
        bbbbbbbbbbb (g x))
    (case aaaaaaaaa
      0 bbbbbbbbbbb
      [p q] (add p q)
      _ 0)))
",
    );
}

#[test]
fn rows_of_atoms_fill_lines() {
    lays_out(
        "[100000 200000 300000 400000 500000 600000 700000] {1 [2 3] 4 [5 6] 7 [8 9] 10 [11 12] 13 [14]}",
        "
[100000 200000 300000 400000 500000
 600000 700000]
{1 [2 3]
 4 [5 6]
 7 [8 9]
 10 [11 12]
 13 [14]}
",
    );
}

#[test]
fn comments_keep_their_place() {
    lays_out(
        "; top  \n\n\n(def x ; why\n ; below\n 1)   ; after\n#_ (gone)\n(f ; c\n)\n' ; odd\n x\n[;first\n1]",
        "
; top

(def x  ; why
  ; below
  1)  ; after
#_(gone)
(f  ; c
  )  ; odd
'x
[;first
 1]
",
    );
}

#[test]
fn what_is_left_out_is_not_read() {
    let forms = read("(a #_b c) #_ #_ d e f ; g").unwrap();
    assert_eq!(skeleton(&forms).join(" "), "List a end c end end f end");
    // What is left out is nothing that a mark could be before; the layout once took it for that.
    lays_out("#_ #_ a b '#_ c d", "#_a\n#_b\n#_c\n'd\n");
    assert!(read("#_#_ a").is_err() && format("#_#_ a", 40).is_err());
}

/// Each thing that can be wrong, as a person sees it.
#[test]
fn errors() {
    let cases = [
        (
            "(f x",
            "t:1:1: this `(` is never closed\n1 | (f x\n  | ^\n  = hint: the closing bracket belongs after the last form that is to be inside\n",
        ),
        (
            "x\n  (f x))",
            "t:2:8: this `)` closes nothing\n2 |   (f x))\n  |        ^\n  = expected: a form, or the end of the text\n",
        ),
        ("(f [x)", "t:1:6: `)` cannot close `[`\n1 | (f [x)\n  |      ^\n  = expected: `]`\n"),
        ("(f ')", "t:1:4: nothing follows `'`\n1 | (f ')\n  |    ^\n  = expected: a form\n"),
        (
            "\"abc\n\"",
            "t:1:1: this text has no end on its line\n1 | \"abc\n  | ^^^^\n  = expected: `\"` before the end of the line\n  = hint: a line break within a text is written \\n\n",
        ),
        (
            "\"a\\qb\"",
            "t:1:3: `\\q` means nothing in a text\n1 | \"a\\qb\"\n  |   ^^\n  = expected: one of \\n \\r \\t \\\" \\\\ \\u{..}\n",
        ),
        (
            "\"a\\u{d800}b\"",
            "t:1:3: this is no code point\n1 | \"a\\u{d800}b\"\n  |   ^^\n  = expected: a hexadecimal number of a character, as \\u{e9}\n",
        ),
        (
            "\"a\u{7}\"",
            "t:1:3: the character U+0007 cannot stand here as itself\n1 | \"a·\"\n  |   ^^\n  = hint: in a text it is written \\u{7}\n",
        ),
        (
            "(f 12ab)",
            "t:1:4: this is no number\n1 | (f 12ab)\n  |    ^^^^\n  = expected: digits, or 0x and hexadecimal digits, with `_` between digits\n  = hint: a name cannot begin with a digit\n",
        ),
        (
            "é #x\"0\"",
            "t:1:6: bytes are pairs of hexadecimal digits\n1 | é #x\"0\"\n  |      ^\n  = expected: as in #x\"00ff\"\n",
        ),
        (
            "#pin{0}",
            "t:1:6: this is not the hash of a pin\n1 | #pin{0}\n  |      ^\n  = expected: 32 bytes in base 58\n",
        ),
        (
            "#foo",
            "t:1:1: `#` begins nothing like this\n1 | #foo\n  | ^^^^\n  = expected: #x\"00ff\"  #{a set}  #(an application)  #_ before what is left out  #pin{a hash}\n",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(read(source).unwrap_err().render("t", source), expected);
    }
}

/// A mark that ended within a character of two bytes was a panic when it was rendered; the fuzzer found it. Marks end where
/// characters do.
#[test]
fn errors_at_long_characters() {
    for source in ["#pin{κ}", "\"a\\κb\"", "#x\"κ\"", "1κ", "#κ", "\"κ", "κ)"] {
        let error = read(source).unwrap_err();
        assert!(source.is_char_boundary(error.span.end as usize), "{source}");
        assert!(error.render("t", source).contains('^'));
    }
}

/// Of a line that is too long, what is around the place.
#[test]
fn errors_in_long_lines() {
    let source = format!("[{} 1x {}]", "12 ".repeat(100), "34 ".repeat(100));
    let text = read(&source).unwrap_err().render("t", &source);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().all(|line| line.chars().count() < 120));
    let column = lines[2].find('^').unwrap();
    let marked: String = lines[1].chars().skip(column).take(2).collect();
    assert_eq!(marked, "1x");
}

#[test]
fn numbers_that_take_too_long() {
    let digits = "1".repeat(100_001);
    assert_eq!(read(&digits).unwrap_err().problem, Problem::LongDecimal(100_001));
    assert!(read(&format!("0x{}", "f".repeat(10_000_000))).is_ok());
    for wrong in ["0x", "1__2", "1_", "0x_1", "0xg", "1.5"] {
        assert_eq!(read(wrong).unwrap_err().problem, Problem::Number, "{wrong}");
    }
}

#[test]
fn a_million_brackets() {
    for (open, close, levels) in
        [("(", ")", 1_000_000), ("[", "]", 100_000), ("'", "", 100_000), ("#(f ", " x)", 100_000)]
    {
        let source = [open.repeat(levels), "x".to_owned(), close.repeat(levels)].concat();
        assert!(read(&source).is_ok());
        let once = format(&source, WIDTH).unwrap();
        assert_eq!(format(&once, WIDTH).unwrap(), once);
        assert!(once.len() < 100 * source.len());
        // What is not closed is an error; what is cut at a mark, too.
        assert!(read(&source[..levels]).is_err());
    }
    let long = format!("\"{}\"", "abc é ".repeat(2_000_000));
    assert!(read(&long).is_ok());
}

fn sources() -> impl Strategy<Value = String> {
    let atoms = prop::sample::select(vec![
        "x",
        "fn",
        "let",
        "def",
        "case",
        "law",
        "12",
        "0xff",
        "\"a b\\n\"",
        "#x\"00\"",
        "a-long-name-that-takes-room",
        "+",
    ]);
    let comments = prop::sample::select(vec!["; c\n", "\n; own line\n", "\n\n;apart  \n"]);
    let spaces = prop::sample::select(vec![" ", "\n", "\n\n", "  \t"]);
    let leaves = prop_oneof![6 => atoms.prop_map(str::to_owned), 1 => comments.prop_map(str::to_owned)];
    let forms = leaves.prop_recursive(6, 60, 8, move |inner| {
        let many = prop::collection::vec((inner, spaces.clone()), 0..8)
            .prop_map(|forms| forms.into_iter().flat_map(|(form, space)| [form, space.to_owned()]).collect::<String>());
        let open = prop::sample::select(vec![
            ("(", ")"),
            ("(let ", ")"),
            ("(case ", ")"),
            ("[", "]"),
            ("{", "}"),
            ("#{", "}"),
            ("#(", ")"),
            ("'(", ")"),
            ("#_[", "]"),
            ("' \n(", ")"),
        ]);
        (open, many).prop_map(|((open, close), inner)| format!("{open}{inner}{close}"))
    });
    prop::collection::vec(forms, 0..4).prop_map(|forms| forms.join("\n"))
}

proptest! {
    #[test]
    fn layout_changes_nothing(source in sources(), width in 10usize..80) {
        let once = format(&source, width).unwrap();
        prop_assert_eq!(&format(&once, width).unwrap(), &once);
        prop_assert_eq!(skeleton(&read(&once).unwrap()), skeleton(&read(&source).unwrap()));
        let comments = |text: &str| text.lines().filter_map(|line| Some(line.split_once(';')?.1.trim().to_owned())).collect::<Vec<_>>();
        prop_assert_eq!(comments(&once), comments(&source));
    }

    #[test]
    fn any_characters(source in "[()\\[\\]{}'#_;\"\\\\xa0 \n…é\u{7}]{0,40}") {
        match read(&source) {
            Ok(forms) => {
                let before = skeleton(&forms);
                let once = format(&source, 20).unwrap();
                prop_assert_eq!(skeleton(&read(&once).unwrap()), before);
                prop_assert_eq!(&format(&once, 20).unwrap(), &once);
            }
            Err(error) => prop_assert!(error.render("t", &source).starts_with("t:")),
        }
    }
}
