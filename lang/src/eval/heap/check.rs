//! For tests: that all that can be reached is there.

use super::Heap;
use crate::eval::word::{Kind, at, is_imm, is_lazy, kind};

impl Heap {
    /// Walks over everything. After a minor collection nothing refers to the nursery, which is empty.
    pub(in crate::eval) fn check(&self, roots: &[&[u64]]) {
        let mut seen = std::collections::HashSet::new();
        let mut left: Vec<(u64, usize)> = roots.iter().copied().flatten().map(|root| (*root, 0)).collect();
        while let Some((value, from)) = left.pop() {
            if is_imm(value) || !seen.insert(value) {
                continue;
            }
            let index = at(value);
            let fine =
                if self.is_old(index) { index < self.mem.len() } else { (self.start..self.top).contains(&index) };
            let kind = if fine { kind(self.mem[index]) } else { Kind::FREE };
            let known = !matches!(kind, Kind::FREE | Kind::MOVED) && is_lazy(value) == (kind >= Kind::THUNK);
            assert!(known, "a reference from {from} to {index} finds {kind}, after {} collections", self.minors);
            left.extend(self.values(index).map(|part| (self.mem[part], index)));
        }
    }
}
