//! The shapes that data has in PLAN: bytes, rows, sets and tables, recognised and made.
//!
//! | | shape |
//! |---|---|
//! | bytes | the law `{1 1 n}`, n being the bytes, the first the least, and then a byte 1 |
//! | constructor of rows of n elements | the law `{0 n+1 0}` |
//! | row | a constructor applied to the elements, the last one first; the empty one is `{0 1 0}` itself |
//! | set | the law `{1 2 keys}`, keys being a row that strictly ascends |
//! | table | a set applied to a row of as many values |

use thiserror::Error;

use super::Value;
use crate::nat::Nat;

/// A value as data.
#[derive(Debug)]
pub enum Shape<'a> {
    /// Bytes.
    Bar(Vec<u8>),
    /// A constructor of rows of so many elements, more than none.
    Cow(Nat),
    /// A row.
    Row(Row<'a>),
    /// A set, by its keys.
    Set(Row<'a>),
    /// A table, by its keys and its values.
    Tab(Row<'a>, Row<'a>),
}

/// The elements of a row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a>(&'a [Value]);

impl<'a> Row<'a> {
    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The element at an index.
    #[must_use]
    pub fn get(self, index: usize) -> Option<&'a Value> {
        self.0.len().checked_sub(index)?.checked_sub(1).map(|at| &self.0[at])
    }

    /// By index.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = &'a Value> + ExactSizeIterator {
        self.0.iter().rev()
    }
}

/// A key that is there twice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a key is there twice")]
pub struct DuplicateKey(pub Value);

impl Value {
    /// Bytes.
    #[must_use]
    pub fn bar(bytes: &[u8]) -> Self {
        let body = Nat::from_bytes_le(&[bytes, &[1]].concat());
        Self::law(Nat::word(1), Nat::word(1), body.into()).expect("one argument")
    }

    /// The constructor of rows of so many elements.
    #[must_use]
    pub fn cow(len: u64) -> Self {
        Self::law(Nat::ZERO, Nat::word(len).next(), Self::word(0)).expect("one argument and more")
    }

    /// A row.
    #[must_use]
    pub fn row(mut elements: Vec<Self>) -> Self {
        elements.reverse();
        Self::app(Self::cow(elements.len() as u64), elements)
    }

    /// A set.
    pub fn set(mut keys: Vec<Self>) -> Result<Self, DuplicateKey> {
        keys.sort();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(DuplicateKey(pair[0].clone())),
            None => Ok(Self::law(Nat::word(1), Nat::word(2), Self::row(keys)).expect("two arguments")),
        }
    }

    /// A table.
    pub fn tab(mut pairs: Vec<(Self, Self)>) -> Result<Self, DuplicateKey> {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let (keys, values) = pairs.into_iter().unzip();
        Ok(Self::app(Self::set(keys)?, vec![Self::row(values)]))
    }

    /// The data that it is, if it is data other than a number.
    #[must_use]
    pub fn shape(&self) -> Option<Shape<'_>> {
        match self {
            Self::Nat(_) | Self::Pin(_) => None,
            Self::Law(law) => self
                .as_bar()
                .map(Shape::Bar)
                .or_else(|| self.as_set().map(Shape::Set))
                .or_else(|| self.as_row().map(Shape::Row))
                .or_else(|| is_cow(self).then(|| Shape::Cow(law.arity().less(1)))),
            Self::App(_) => {
                self.as_row().map(Shape::Row).or_else(|| self.as_tab().map(|(keys, values)| Shape::Tab(keys, values)))
            }
        }
    }

    /// The bytes that it is.
    #[must_use]
    pub fn as_bar(&self) -> Option<Vec<u8>> {
        let Self::Law(law) = self else { return None };
        let Self::Nat(body) = law.body() else { return None };
        // The most significant byte must be a 1, whole: one more bit than full bytes.
        if *law.name() != 1 || *law.arity() != 1 || body.bit_count() % 8 != 1 {
            return None;
        }
        let mut bytes = body.to_bytes_le();
        (bytes.pop() == Some(1)).then_some(bytes)
    }

    /// The row that it is.
    #[must_use]
    pub fn as_row(&self) -> Option<Row<'_>> {
        match self {
            Self::Law(law) if is_cow(self) && *law.arity() == 1 => Some(Row(&[])),
            Self::App(app) => match app.head() {
                Self::Law(law) if is_cow(app.head()) && *law.arity() == app.args().len() as u64 + 1 => {
                    Some(Row(app.args()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The keys of the set that it is.
    #[must_use]
    pub fn as_set(&self) -> Option<Row<'_>> {
        let Self::Law(law) = self else { return None };
        if *law.name() != 1 || *law.arity() != 2 {
            return None;
        }
        // As held in memory they descend.
        law.body().as_row().filter(|keys| keys.0.is_sorted_by(|a, b| a > b))
    }

    /// The keys and the values of the table that it is.
    #[must_use]
    pub fn as_tab(&self) -> Option<(Row<'_>, Row<'_>)> {
        let Self::App(app) = self else { return None };
        let [values] = app.args() else { return None };
        let (keys, values) = (app.head().as_set()?, values.as_row()?);
        (keys.len() == values.len()).then_some((keys, values))
    }
}

fn is_cow(value: &Value) -> bool {
    matches!(value, Value::Law(law) if law.name().is_zero() && matches!(law.body(), Value::Nat(body) if body.is_zero()))
}
