//! Values looked at, taken apart and put together in a heap, for a caller that does not take them out: they may be of any size.

use super::tree;
use super::word::{Kind, is_imm, is_lazy, len};
use super::{Machine, Root};
use crate::value::Value;

impl Machine {
    /// The row of these.
    pub fn row(&mut self, elements: &[Root]) -> Root {
        let words: Vec<u64> = elements.iter().map(|root| self.roots[root.0]).collect();
        let row = self.heap.row(&words);
        self.hold(row)
    }

    /// How many elements a row has, if that is what a value is as far as it has been evaluated.
    #[must_use]
    pub fn row_len(&self, root: Root) -> Option<usize> {
        let value = self.evaluated(root)?;
        (self.heap.kind_of(value) == Some(Kind::ROW)).then(|| len(self.heap.head(value)))
    }

    /// An element of a row, evaluated or not.
    pub fn part(&mut self, root: Root, index: usize) -> Option<Root> {
        let value = self.evaluated(root)?;
        let element = (self.row_len(root)? > index).then(|| self.heap.field(value, index))?;
        Some(self.hold(element))
    }

    /// A number of one word, if a value is one as far as it has been evaluated.
    #[must_use]
    pub fn as_word(&self, root: Root) -> Option<u64> {
        let value = self.evaluated(root)?;
        if self.heap.is_nat(value) { self.heap.small(value) } else { None }
    }

    /// How many bytes, if a value is bytes as far as it has been evaluated.
    #[must_use]
    pub fn bytes_len(&self, root: Root) -> Option<usize> {
        let value = self.evaluated(root)?;
        (self.heap.kind_of(value) == Some(Kind::BAR)).then(|| self.heap.field(value, 0) as usize)
    }

    /// The bytes that a value is as far as it has been evaluated.
    #[must_use]
    pub fn as_bytes(&self, root: Root) -> Option<Vec<u8>> {
        self.bytes_len(root)?;
        Some(self.heap.bytes(self.evaluated(root)?))
    }

    /// What a table has for a key.
    pub fn table_get(&mut self, table: Root, key: &Value) -> Option<Root> {
        let node = self.table(table)?;
        let key = self.load_word(key);
        let value = tree::get(&mut self.heap, node, key)?;
        Some(self.hold(value))
    }

    /// A table with another entry, in place of any of that key.
    pub fn table_put(&mut self, table: Root, key: &Value, value: Root) -> Option<Root> {
        let node = self.table(table)?;
        let key = self.load_word(key);
        let node = tree::insert(&mut self.heap, node, key, self.roots[value.0]);
        let table = self.heap.tab(node);
        Some(self.hold(table))
    }

    /// The keys of a table that are numbers or bytes, of no more than so many bytes, in order, among so many keys.
    #[must_use]
    pub fn table_names(&self, table: Root, bytes_max: usize, count_max: usize) -> Vec<Value> {
        let Some(node) = self.table(table) else { return Vec::new() };
        let count = tree::size(&self.heap, node).min(count_max);
        let keys = (0..count).filter_map(|rank| tree::nth(&self.heap, node, rank)).map(|(key, _)| key);
        let is_short = |key: &u64| {
            if self.heap.is_nat(*key) {
                return self.heap.limbs(*key).len() * 8 <= bytes_max;
            }
            self.heap.kind_of(*key) == Some(Kind::BAR) && self.heap.field(*key, 0) as usize <= bytes_max
        };
        keys.filter(is_short).filter_map(|key| self.read_word(key).ok()).collect()
    }

    /// Whether two roots hold one thing.
    #[must_use]
    pub fn is_same(&self, a: Root, b: Root) -> bool {
        self.heap.resolve(self.roots[a.0]) == self.heap.resolve(self.roots[b.0])
    }

    fn evaluated(&self, root: Root) -> Option<u64> {
        let value = self.heap.resolve(self.roots[root.0]);
        (!is_lazy(value)).then_some(value)
    }

    fn table(&self, root: Root) -> Option<u64> {
        let value = self.evaluated(root)?;
        if is_imm(value) {
            return None;
        }
        match self.heap.kind_of(value) {
            Some(Kind::TAB) => Some(self.heap.field(value, 0)),
            _ => None,
        }
    }
}
