//! An error and its causes as one line, for those who take nothing but text.

use std::error::Error;

/// What an error says, then what each of its causes says.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
