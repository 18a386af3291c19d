//! From a table of cells to a value: what the cells would evaluate to, if that is nothing but laws and pins made.
//!
//! A cell that only serves as the head of others is no value of its own: an application is made when something takes it as an
//! argument, so that a row of n elements costs n and not its square.

use super::table::{Place, Table};
use super::{Limits, ReadError};
use crate::value::Value;

/// A cell seen as an application of something that is none.
struct Spine {
    /// A leaf, or a cell that made a law or a pin.
    head: Place,
    /// None, of a cell that made a law or a pin.
    args: u32,
}

struct Loader<'a> {
    table: &'a Table,
    spines: Vec<Spine>,
    /// Of each cell, the value, where one was made.
    made: Vec<Option<Value>>,
    limits: &'a mut Limits,
}

pub(super) fn load(table: &Table, limits: &mut Limits) -> Result<Value, ReadError> {
    let mut loader = Loader { table, spines: Vec::new(), made: Vec::with_capacity(table.cells.len()), limits };
    for (head, tail) in &table.cells {
        loader.cell(*head, *tail)?;
    }
    loader.value(table.top)
}

impl Loader<'_> {
    /// A cell after those that it refers to.
    fn cell(&mut self, head: Place, tail: Place) -> Result<(), ReadError> {
        // What is an argument is a value.
        self.value(tail)?;
        let spine = match self.cell_index(head) {
            Some(index) if self.spines[index].args > 0 => {
                Spine { head: self.spines[index].head, args: self.spines[index].args + 1 }
            }
            _ => Spine { head, args: 1 },
        };
        let function = self.leaf_or_made(spine.head).ok_or(ReadError::Computation)?;
        let left = function.arity().less(u64::from(spine.args));
        let operation = match function {
            Value::Nat(nat) => nat.to_word(),
            _ => None,
        };
        let made = match (left.is_zero(), operation) {
            (false, _) => None,
            (true, Some(4)) => {
                let content = self.value(tail)?;
                Some(Value::pin_within(content, &mut self.limits.hashed)?)
            }
            (true, Some(0)) => Some(self.law(head, tail)?),
            (true, _) => return Err(ReadError::Computation),
        };
        let at = Place::try_from(self.table.leaves.len() + self.spines.len()).map_err(|_| ReadError::TooMany)?;
        self.spines.push(if made.is_some() { Spine { head: at, args: 0 } } else { spine });
        self.made.push(made);
        Ok(())
    }

    /// `(((0 name) arity) body)`: the last two cells are the ones given, and the first has the name.
    fn law(&mut self, head: Place, tail: Place) -> Result<Value, ReadError> {
        let arity = self.tail(head);
        let name = self.cell_index(head).map(|index| self.table.cells[index].0).and_then(|first| self.tail(first));
        let (Some(name), Some(arity)) = (name, arity) else { return Err(ReadError::Computation) };
        let (Value::Nat(name), Value::Nat(arity)) = (self.value(name)?, self.value(arity)?) else {
            return Err(ReadError::Computation);
        };
        Value::law(name, arity, self.value(tail)?).ok_or(ReadError::Computation)
    }

    /// The value of an entry: a leaf, one that is made, or an application made now.
    fn value(&mut self, place: Place) -> Result<Value, ReadError> {
        if let Some(value) = self.leaf_or_made(place) {
            return Ok(value.clone());
        }
        let index = self.cell_index(place).ok_or(ReadError::Computation)?;
        let Spine { head, args: count } = self.spines[index];
        self.limits.arguments = self.limits.arguments.checked_sub(u64::from(count)).ok_or(ReadError::TooWide)?;
        let mut args = Vec::with_capacity(count as usize);
        let mut at = place;
        while args.len() < count as usize {
            let Some(index) = self.cell_index(at) else { return Err(ReadError::Computation) };
            let (next, tail) = self.table.cells[index];
            // Made when the cell was met.
            args.push(self.leaf_or_made(tail).ok_or(ReadError::Computation)?.clone());
            at = next;
        }
        args.reverse();
        let head = self.leaf_or_made(head).ok_or(ReadError::Computation)?.clone();
        let value = Value::app(head, args);
        self.made[index] = Some(value.clone());
        Ok(value)
    }

    fn leaf_or_made(&self, place: Place) -> Option<&Value> {
        match self.cell_index(place) {
            None => self.table.leaves.get(place as usize),
            Some(index) => self.made.get(index)?.as_ref(),
        }
    }

    fn tail(&self, place: Place) -> Option<Place> {
        self.cell_index(place).map(|index| self.table.cells[index].1)
    }

    fn cell_index(&self, place: Place) -> Option<usize> {
        (place as usize).checked_sub(self.table.leaves.len())
    }
}
