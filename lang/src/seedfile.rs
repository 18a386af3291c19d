//! PLAN seeds: values as files, byte for byte as Pallas writes and reads them.
//!
//! A value is written as a binary tree of naturals: an application as nested cells, a pin of x as `(4 x)`, a law as `(0 name
//! arity body)`. Equal cells are one cell. Numbers of 64 bits, least byte first:
//!
//! | part | |
//! |---|---|
//! | header | how many holes, numbers over 64 bits, over 8 bits, others, fragments: 5 numbers |
//! | widths | of each number over 64 bits: its words |
//! | words | of each, the least first; then the numbers over 8 bits; then the others, a byte each |
//! | fragments | bits, the least of a byte first, right after the bytes |
//! | padding | zeros to a multiple of 8 bytes |
//!
//! A table is filled: with the holes, which stand for pins that the reader knows; with the numbers, each once, the largest
//! first; with the fragments. A fragment is a cell, as the two trees in it; a tree is a bit 1 and the two trees in it, or a bit
//! 0 and a place in the table, in as many bits as the last place so far takes. The last entry is the value.
//!
//! * Numbers are ordered by words, the more the earlier; then by the most significant word, the larger the earlier; then, as it
//!   has come to be, by the rest, the *smaller* the earlier.
//! * A cell is a fragment of its own if it is the value, or occurs more often than the cell it is met in, all written out. As a
//!   cell occurs as often as the cells around it together, that is: if it is in two places. Fragments are in the order in which
//!   a walk, heads first, is done with them.
//!
//! A reader refuses what is not of this form, except that it does not ask which cells are fragments: a value has one hash but
//! may have many files. It also refuses trees that would have to be evaluated, other than those for laws and pins.

mod bits;
mod germ;
mod load;
mod pod;
mod table;
mod write;

use thiserror::Error;

use crate::hash::{Budget, TooLarge};
use crate::value::Value;

pub use germ::{PinFile, read_pin_file, write_pin_file};
pub use pod::{read_pod, write_pod};

/// What cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It ends too early.
    #[error("the seed ends within its {0}")]
    Truncated(&'static str),
    /// Something follows the end.
    #[error("bytes follow the seed's end")]
    Trailing,
    /// The end is not filled up with zeros.
    #[error("the seed is not filled up with zeros to a multiple of 8 bytes")]
    Padding,
    /// There is nothing in it.
    #[error("the seed holds no value")]
    Empty,
    /// It has other holes than there are pins to fill them.
    #[error("the seed has {holes} holes for {given} pins")]
    Holes {
        /// Holes.
        holes: u64,
        /// Pins.
        given: usize,
    },
    /// A number is in the wrong place.
    #[error("number {index} of the seed is out of order, or as long as another kind of number")]
    Number {
        /// Which.
        index: usize,
    },
    /// A place in the table that is not filled yet.
    #[error("fragment {fragment} of the seed refers to what is not there yet")]
    Reference {
        /// In which fragment.
        fragment: usize,
    },
    /// More cells than can be counted.
    #[error("the seed has more than 2^32 entries")]
    TooMany,
    /// An application that has all its arguments, and is neither a law's nor a pin's.
    #[error("the seed holds a computation: something that would have to be evaluated")]
    Computation,
    /// A pin's content is too large, written out.
    #[error(transparent)]
    Unhashable(#[from] TooLarge),
    /// Applications that share their first arguments in the file, and cannot in memory, have too many of them.
    #[error("the seed is far larger in memory than as a file")]
    TooWide,
    /// The file does not begin as a pod does.
    #[error("not a pod: it does not begin with SEEDPOD:")]
    NotAPod,
    /// The seed in a pod is no list of pins.
    #[error("the pod does not hold a hash and a list of pins")]
    PodShape,
    /// A pin in a pod refers to one that does not come before it.
    #[error("pin {0} of the pod refers to a pin that is not before it")]
    PodReference(usize),
    /// The last pin is not the one that the pod names.
    #[error("the pod's last pin does not have the hash that the pod gives")]
    PodHash,
}

/// What cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// Evaluation would change it; read again, it would be something else.
    #[error("a value that would have to be evaluated cannot be written as a seed")]
    Computation,
    /// More cells than can be counted.
    #[error("a value of more than 2^32 cells cannot be written as a seed")]
    TooMany,
}

/// What reading may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    hashed: Budget,
    arguments: u64,
}

impl Limits {
    /// Limits for reading so many bytes from anybody: time for a gibibyte hashed, memory in proportion.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        Self::new(1 << 30, (1 << 20) + 16 * bytes as u64)
    }

    /// So many bytes hashed, and so many arguments of applications held, in all.
    #[must_use]
    pub fn new(hashed: u64, arguments: u64) -> Self {
        Self { hashed: Budget::new(hashed), arguments }
    }
}

/// Reads a seed without holes.
pub fn read(bytes: &[u8]) -> Result<Value, ReadError> {
    read_germ(bytes, &[], &mut Limits::of(bytes.len()))
}

/// Reads a seed whose holes are these pins, at the cost of the limits.
pub fn read_germ(bytes: &[u8], holes: &[Value], limits: &mut Limits) -> Result<Value, ReadError> {
    load::load(&table::Table::read(bytes, holes)?, limits)
}

/// Writes a seed without holes: pins are written in full.
pub fn write(value: &Value) -> Result<Vec<u8>, WriteError> {
    write::write(value, &[])
}
