//! From forms to values: what the text says, as PLAN.
//!
//! A definition of a function becomes a law with its name, pinned. Functions within functions get the variables they use as
//! first arguments; what a function calls itself is its own slot 0. All `let`s of a function, wherever they stand in it, are
//! the lets of its law: they are lazy, so it does not matter where they stand. A form that has to be evaluated becomes a law of
//! one argument applied to 0, for whoever evaluates.
//!
//! `case` is made of functions that the environment must have: [`CORE`].

mod environment;
mod expression;
mod item;
mod lower;
mod pattern;
mod quote;
mod resolve;
mod run;
mod steps;
mod words;

pub use environment::{CORE, Environment};
pub use item::{Around, Code, Item, compile};
pub(crate) use lower::is_term;
pub use run::{Answer, Host, Need, Outcome, Run, run};

/// The names that begin a form of the language, and cannot be given to anything else.
pub const KEYWORDS: [&str; 11] =
    ["def", "fn", "let", "case", "do", "pin", "quote", "law", "import", "assert", "assert-eq"];

/// Whether a name begins a form of the language.
#[must_use]
pub fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name)
}
