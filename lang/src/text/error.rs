//! What is wrong with a text, where, and what to write instead.

use std::fmt::Write as _;

use thiserror::Error;

use super::literal::DECIMAL_DIGITS_MAX;

/// Bytes of a source, from one offset to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first.
    pub start: u32,
    /// The one after the last.
    pub end: u32,
}

impl Span {
    /// The text of it.
    #[must_use]
    pub fn of(self, source: &str) -> &str {
        source.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Something wrong at a place of a source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct TextError {
    /// Where.
    pub span: Span,
    /// What.
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// A bracket that is never closed.
    #[error("this `{0}` is never closed")]
    Unclosed(&'static str),
    /// A bracket that closes nothing.
    #[error("this `{0}` closes nothing")]
    Unopened(char),
    /// A bracket that closes one of another kind.
    #[error("`{found}` cannot close `{open}`")]
    Mismatched {
        /// What closes.
        found: char,
        /// What was open.
        open: &'static str,
        /// What would close it.
        close: char,
    },
    /// A mark before a form, and no form.
    #[error("nothing follows `{0}`")]
    NothingFollows(&'static str),
    /// A text without its end.
    #[error("this text has no end on its line")]
    UnclosedText,
    /// An escape that means nothing.
    #[error("`\\{0}` means nothing in a text")]
    Escape(char),
    /// A code point that is none.
    #[error("this is no code point")]
    CodePoint,
    /// A character that cannot be seen.
    #[error("the character U+{0:04X} cannot stand here as itself")]
    Control(u32),
    /// What begins with a digit and is no number.
    #[error("this is no number")]
    Number,
    /// A number that would take too long.
    #[error("a number of {0} decimal digits takes too long to read")]
    LongDecimal(usize),
    /// Bytes that are not pairs of hexadecimal digits.
    #[error("bytes are pairs of hexadecimal digits")]
    Bytes,
    /// What is no hash.
    #[error("this is not the hash of a pin")]
    Hash,
    /// A `#` of no known kind.
    #[error("`#` begins nothing like this")]
    Sharp,
    /// Text that was printed in part.
    #[error("what stood here was left out when this was printed")]
    Cut,
    /// A name that nothing has.
    #[error("nothing is named `{name}`")]
    Unbound {
        /// The name.
        name: String,
        /// One like it.
        nearest: Option<String>,
        /// Whether it is defined further down.
        is_later: bool,
    },
    /// A word of the language where a name should be.
    #[error("`{0}` is a word of the language and names nothing")]
    Keyword(String),
    /// Something else where a name should be.
    #[error("this is no name")]
    NotAName,
    /// A name given twice.
    #[error("`{0}` is defined twice")]
    Duplicate(String),
    /// A form of the language that is written otherwise.
    #[error("this is not how `{form}` is written")]
    Shape {
        /// Which form.
        form: &'static str,
        /// How it is written.
        shape: &'static str,
    },
    /// A form that only stands outermost.
    #[error("`{0}` stands outermost in a file only")]
    Outermost(String),
    /// `()`.
    #[error("an empty list means nothing")]
    EmptyList,
    /// `(f)`.
    #[error("a function is applied to something")]
    NoArguments,
    /// More arguments than a function takes.
    #[error("`{name}` takes {takes}, and is given {given}")]
    TooManyArguments {
        /// Its name.
        name: String,
        /// How many it takes.
        takes: String,
        /// How many it is given.
        given: usize,
    },
    /// A function without parameters.
    #[error("a function has parameters")]
    NoParameters,
    /// Functions in functions in functions.
    #[error("functions are nested too deeply here")]
    NestedFunctions,
    /// A case after one that takes everything.
    #[error("this case is never reached")]
    NeverReached,
    /// Something that cannot be matched.
    #[error("this is no pattern")]
    Pattern,
    /// A function that a form needs is not there.
    #[error("`{form}` needs the function `{name}`, which is not there")]
    Missing {
        /// The form.
        form: &'static str,
        /// The function.
        name: &'static str,
    },
    /// A table with a key without value.
    #[error("a key of this table has no value")]
    OddTable,
    /// A key or element that is there twice.
    #[error("{0} twice in one")]
    DuplicateKey(&'static str),
    /// Something that must be known when it is read.
    #[error("{0} cannot depend on anything that is only known later")]
    NotConstant(&'static str),
    /// Part of a law that is no number, or no arity.
    #[error("{0}")]
    LawPart(&'static str),
    /// An application that has all its arguments.
    #[error("this application has all its arguments: it is no value, but what it comes to is one")]
    NotNormal,
    /// A pin that is not known.
    #[error("no pin of this hash is known here")]
    UnknownPin,
    /// A definition of a pin by another hash than its own.
    #[error("this has another hash: {0}")]
    WrongHash(String),
    /// What is to be pinned is too large.
    #[error("this is too large, written out, to be pinned")]
    TooLarge,
    /// Another file could not be had.
    #[error("importing {file} failed: {why}")]
    Import {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// Evaluating crashed, or did not end.
    #[error("evaluating this failed: {0}")]
    Evaluation(String),
    /// An assertion that does not hold.
    #[error("this does not hold: it is {0}")]
    Assertion(String),
    /// Two things that should be equal.
    #[error("these are not equal")]
    NotEqual {
        /// The first.
        left: String,
        /// The second.
        right: String,
    },
    /// A machine's self is to be set where there is no machine.
    #[error("there is no machine here whose self could be set")]
    NoSelf,
    /// More than 4 GiB.
    #[error("a source of more than 4 GiB cannot be read")]
    SourceTooLarge,
}

impl Problem {
    /// What could stand there.
    #[must_use]
    pub fn expected(&self) -> Option<String> {
        Some(match self {
            Self::Unopened(_) => "a form, or the end of the text".to_owned(),
            Self::Mismatched { close, .. } => format!("`{close}`"),
            Self::NothingFollows(_) => "a form".to_owned(),
            Self::UnclosedText => "`\"` before the end of the line".to_owned(),
            Self::Escape(_) => r#"one of \n \r \t \" \\ \u{..}"#.to_owned(),
            Self::CodePoint => r"a hexadecimal number of a character, as \u{e9}".to_owned(),
            Self::Number => "digits, or 0x and hexadecimal digits, with `_` between digits".to_owned(),
            Self::Bytes => "as in #x\"00ff\"".to_owned(),
            Self::Hash => "32 bytes in base 58".to_owned(),
            Self::Sharp => {
                "#x\"00ff\"  #{a set}  #(an application)  #_ before what is left out  #pin{a hash}".to_owned()
            }
            _ => return None,
        })
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unclosed(_) => "the closing bracket belongs after the last form that is to be inside".to_owned(),
            Self::UnclosedText => r"a line break within a text is written \n".to_owned(),
            Self::Control(code) => format!(r"in a text it is written \u{{{code:x}}}"),
            Self::Number => "a name cannot begin with a digit".to_owned(),
            Self::LongDecimal(_) => {
                format!("above {DECIMAL_DIGITS_MAX} digits, write it in hexadecimal, as 0xff")
            }
            Self::Cut => "print it with more depth, or save it to a file".to_owned(),
            Self::Unbound { name, is_later: true, .. } => format!(
                "it is defined further down: definitions come before what uses them, and functions that use each other go \
                 in one `let` (as `{name}` can)"
            ),
            Self::Unbound { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::Keyword(word) | Self::Outermost(word) => {
                format!("as data it is written '{word}")
            }
            Self::TooManyArguments { .. } => "to apply what it gives, write ((f a) b)".to_owned(),
            Self::NoArguments => "without the brackets it is the function itself".to_owned(),
            Self::NoParameters => "(def name value) defines a value; (fn (_) ..) takes anything".to_owned(),
            Self::NestedFunctions => "give the inner ones definitions of their own".to_owned(),
            Self::NotNormal => "(f x) is what it comes to".to_owned(),
            Self::UnknownPin => "(def #pin{..} content) before it makes it known".to_owned(),
            Self::NoSelf => "at a machine's prompt, `abide repl MACHINE`, there is one".to_owned(),
            Self::Missing { .. } => "the base library has it".to_owned(),
            _ => return None,
        })
    }

    /// Whether more text could put it right.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Unclosed(_))
    }
}

/// How much of a line is shown.
const SHOWN_MAX: usize = 100;

impl TextError {
    /// For a person: `file:line:column: what`, the line, a mark under the place, what was expected, a hint.
    #[must_use]
    pub fn render(&self, file: &str, source: &str) -> String {
        let start = (self.span.start as usize).min(source.len());
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = source[line_start..].lines().next().unwrap_or_default();
        let line_number = source[..line_start].matches('\n').count() + 1;
        let before = source[line_start..start].chars().count();
        let marked = source
            [start..(self.span.end as usize).clamp(start, line_start + line.len().max(start - line_start))]
            .chars()
            .count()
            .max(1);

        // Of a long line, a window in which the place is.
        let skipped = if line.chars().count() > SHOWN_MAX { before.saturating_sub(SHOWN_MAX / 2) } else { 0 };
        let window: String = line.chars().skip(skipped).take(SHOWN_MAX).map(visible).collect();
        let (lead, tail) = (
            if skipped > 0 { "…" } else { "" },
            if line.chars().nth(skipped + SHOWN_MAX).is_some() { "…" } else { "" },
        );
        let indent = " ".repeat(before - skipped + lead.chars().count());
        let mark = "^".repeat(marked.min(SHOWN_MAX - (before - skipped).min(SHOWN_MAX - 1)));
        let gutter = line_number.to_string();
        let blank = " ".repeat(gutter.len());

        let mut out = format!("{file}:{line_number}:{}: {}\n", before + 1, self.problem);
        let _ = writeln!(out, "{gutter} | {lead}{window}{tail}");
        let _ = writeln!(out, "{blank} | {indent}{mark}");
        for (word, text) in [("expected", self.problem.expected()), ("hint", self.problem.hint())] {
            if let Some(text) = text {
                let _ = writeln!(out, "{blank} = {word}: {text}");
            }
        }
        out
    }
}

/// A character that takes one place, so that the mark stands under what it marks.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        character if character.is_control() => '·',
        character => character,
    }
}
