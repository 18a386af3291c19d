//! From forms to values: what the text says, as PLAN.

/// The names that begin a form of the language, and cannot be given to anything else.
pub const KEYWORDS: [&str; 10] = ["def", "fn", "let", "case", "pin", "quote", "law", "import", "assert", "assert-eq"];

/// Whether a name begins a form of the language.
#[must_use]
pub fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name)
}
