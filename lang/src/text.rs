//! The text form: what people write and read, and its way to forms and back. `docs/lang.md` has the grammar.
//!
//! Invariant: every value prints as text that reads back as that value, and prints the same whenever it is printed.
//! Invariant: a million brackets deep is as good as one: nesting is on stacks of our own.

mod brief;
mod error;
mod forms;
mod function;
mod layout;
mod literal;
mod print;
mod read;
mod token;
mod unique;

pub(crate) use brief::{BYTES_MAX, ELEMENTS_MAX, PARTS_MAX};
pub use brief::{Brief, brief};
pub use error::{Problem, Span, TextError};
pub use forms::{Form, FormId, Forms, Kind};
pub use layout::{WIDTH, format};
pub use literal::{is_name, symbol_of};
pub use print::{Names, show, show_definitions};
pub use read::read;
