//! Colours, where they are wanted.

use std::io::IsTerminal;

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// Colours for a stream: on a terminal, unless NO_COLOR is set.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_on: stream.is_terminal() && !refused }
    }

    /// For what went wrong.
    #[must_use]
    pub fn error(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// For what to do.
    #[must_use]
    pub fn hint(self, text: &str) -> String {
        self.with("1;36", text)
    }

    /// For what is less important.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// For names of things.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
