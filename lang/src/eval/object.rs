//! Objects, made in the one way each value has in a heap, and seen as the values they stand for.
//!
//! Invariant: a row, bytes, a set, and a table whose values were known to be a row, are never held as a law or an application.
//! (A table whose values are still to be evaluated is an application until it is normalised: [`Heap::as_tab`].)

use super::heap::Heap;
use super::tree;
use super::word::{
    BUSY, IMM_MAX, Kind, MANY, NORMAL, ONE, ZERO, at, extra, header, imm, is_imm, is_lazy, len, object, short,
};

const TWO: u64 = imm(2);

impl Heap {
    /// A number of one word.
    #[inline(always)]
    pub(super) fn nat(&mut self, number: u64) -> u64 {
        if number <= IMM_MAX { imm(number) } else { object(self.make(header(Kind::BIG, 0, 1) | NORMAL, &[number])) }
    }

    /// A number by its limbs, the least first.
    pub(super) fn nat_of(&mut self, limbs: &[u64]) -> u64 {
        let count = limbs.iter().rposition(|limb| *limb != 0).map_or(0, |last| last + 1);
        match count {
            0 => ZERO,
            1 => self.nat(limbs[0]),
            _ => object(self.make(header(Kind::BIG, 0, count) | NORMAL, &limbs[..count])),
        }
    }

    /// The limbs of a number, none for zero; of anything else, none.
    pub(super) fn limbs(&self, value: u64) -> Vec<u64> {
        match self.kind_of(value) {
            None if value == ZERO => Vec::new(),
            None => vec![value >> 1],
            Some(Kind::BIG) => self.fields(value).to_vec(),
            Some(_) => Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn is_nat(&self, value: u64) -> bool {
        is_imm(value) || super::word::kind(self.head(value)) == Kind::BIG
    }

    /// A value taken as a number: what is none is zero.
    #[inline(always)]
    pub(super) fn cast(&self, value: u64) -> u64 {
        if self.is_nat(value) { value } else { ZERO }
    }

    /// A value taken as a number of one word, if it is that small.
    pub(super) fn small(&self, value: u64) -> Option<u64> {
        match self.kind_of(value) {
            None => Some(value >> 1),
            Some(Kind::BIG) if len(self.head(value)) == 1 => Some(self.field(value, 0)),
            Some(Kind::BIG) => None,
            Some(_) => Some(0),
        }
    }

    /// Bytes.
    pub(super) fn bar(&mut self, bytes: &[u8]) -> u64 {
        let words = bytes.len().div_ceil(8);
        let index = self.alloc(header(Kind::BAR, 0, words + 1) | NORMAL);
        self.mem[index + 1] = bytes.len() as u64;
        for (word, chunk) in self.mem[index + 2..index + 2 + words].iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        object(index)
    }

    /// The bytes that an object of that kind holds.
    pub(super) fn bytes(&self, value: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.fields(value)[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(self.field(value, 0) as usize);
        bytes
    }

    /// The number that is the body of bytes as a law.
    pub(super) fn bar_limbs(&self, value: u64) -> Vec<u64> {
        let count = self.field(value, 0) as usize;
        let mut limbs = self.fields(value)[1..].to_vec();
        limbs.resize(count / 8 + 1, 0);
        limbs[count / 8] |= 1 << (count % 8 * 8);
        limbs
    }

    /// A row, by index.
    pub(super) fn row(&mut self, elements: &[u64]) -> u64 {
        object(self.make(header(Kind::ROW, 0, elements.len()), elements))
    }

    /// A row whose elements are set afterwards.
    pub(super) fn row_of(&mut self, count: usize) -> u64 {
        object(self.alloc(header(Kind::ROW, 0, count)))
    }

    /// A law, its body normal: or the bytes, the set or the empty row that it is.
    pub(super) fn law(&mut self, name: u64, arity: u64, body: u64) -> u64 {
        let body = self.resolve(body);
        if name == ZERO && arity == ONE && body == ZERO {
            return self.row(&[]);
        }
        if name == ONE && arity == ONE && self.is_nat(body) {
            let limbs = self.limbs(body);
            let top = limbs.last().copied().unwrap_or(0);
            let bits = 64 - top.leading_zeros() as usize;
            // The last byte is a whole one: a one, and above it nothing.
            if bits % 8 == 1 {
                let count = (limbs.len() - 1) * 8 + bits / 8;
                let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).take(count).collect();
                return self.bar(&bytes);
            }
        }
        if name == ONE && arity == TWO && self.kind_of(body) == Some(Kind::ROW) {
            let keys: Vec<u64> = self.fields(body).iter().map(|key| self.resolve(*key)).collect();
            if (1..keys.len()).all(|index| super::order::compare(self, keys[index - 1], keys[index]).is_lt()) {
                return self.set_of(&keys);
            }
        }
        let arity_short = self.small(arity).map_or(MANY, short);
        object(self.make(header(Kind::LAW, arity_short, 5) | NORMAL, &[name, arity, body, ZERO, ZERO]))
    }

    /// A set of keys that are normal and ascend.
    pub(super) fn set_of(&mut self, keys: &[u64]) -> u64 {
        let root = tree::build(self, keys, None);
        self.set(root)
    }

    pub(super) fn set(&mut self, root: u64) -> u64 {
        object(self.make(header(Kind::SET, 0, 1) | NORMAL, &[root]))
    }

    pub(super) fn tab(&mut self, root: u64) -> u64 {
        object(self.make(header(Kind::TAB, 0, 1), &[root]))
    }

    /// Whether it is a constructor of rows of at least one element.
    pub(super) fn is_cow(&self, value: u64) -> bool {
        self.kind_of(value) == Some(Kind::LAW) && self.field(value, 0) == ZERO && self.field(value, 2) == ZERO
    }

    /// The constructor of rows of so many elements.
    pub(super) fn cow(&mut self, count: usize) -> u64 {
        self.law(ZERO, imm(count as u64 + 1), ZERO)
    }

    /// A pin of normal content. Its jet, if any, is the caller's matter.
    pub(super) fn pin(&mut self, content: u64) -> u64 {
        let content = self.resolve(content);
        let arity = self.arity(content);
        object(self.make(header(Kind::PIN, arity, 8) | NORMAL, &[content, ZERO, ZERO, ZERO, 0, 0, 0, 0]))
    }

    /// How many arguments a value waits for; [`MANY`] if that or more.
    #[inline]
    pub(super) fn arity(&self, value: u64) -> usize {
        match value {
            ZERO | TWO => 3,
            ONE => 5,
            _ if is_imm(value) => 1,
            _ => {
                let head = self.head(value);
                match super::word::kind(head) {
                    Kind::LAW | Kind::PIN => extra(head),
                    Kind::APP if extra(head) < MANY => extra(head),
                    // Made of so many arguments that it would not fit: what is left is counted.
                    Kind::APP => self.arity_exact(value),
                    Kind::SET => 2,
                    _ => 1,
                }
            }
        }
    }

    fn arity_exact(&self, value: u64) -> usize {
        let mut function = self.field(value, 0);
        while self.kind_of(function) == Some(Kind::PIN) {
            function = self.field(function, 0);
        }
        let of = match self.kind_of(function) {
            Some(Kind::LAW) => self.small(self.field(function, 1)).unwrap_or(u64::MAX),
            Some(Kind::APP) => return MANY,
            _ => return MANY,
        };
        short(of.saturating_sub(len(self.head(value)) as u64 - 1))
    }

    /// An evaluated function applied to fewer arguments than it waits for.
    pub(super) fn partial(&mut self, function: u64, args: &[u64]) -> u64 {
        if args.is_empty() {
            return function;
        }
        match self.kind_of(function) {
            Some(Kind::APP) => {
                let all = [self.fields(function), args].concat();
                self.partial_flat(&all)
            }
            _ => {
                let all = [&[function], args].concat();
                self.partial_flat(&all)
            }
        }
    }

    fn partial_flat(&mut self, all: &[u64]) -> u64 {
        let (head, args) = (all[0], &all[1..]);
        if self.is_cow(head) && self.small(self.field(head, 1)) == Some(args.len() as u64 + 1) {
            let row = self.row(args);
            self.mem[at(row) + 1..][..args.len()].reverse();
            return row;
        }
        if let (Some(Kind::SET), [values]) = (self.kind_of(head), args)
            && let Some(tab) = self.tab_of(head, *values)
        {
            return tab;
        }
        let arity = self.arity(head);
        let left = if arity == MANY { MANY } else { arity - args.len() };
        object(self.make(header(Kind::APP, left, all.len()), all))
    }

    /// The table of a set of keys and what may be a row of as many values.
    fn tab_of(&mut self, keys: u64, values: u64) -> Option<u64> {
        let values = self.resolve(values);
        let root = self.field(keys, 0);
        if self.kind_of(values) != Some(Kind::ROW) || len(self.head(values)) != tree::size(self, root) {
            return None;
        }
        let keys = tree::keys(self, root);
        let values = self.fields(values).to_vec();
        let root = tree::build(self, &keys, Some(&values));
        Some(self.tab(root))
    }

    /// The table that a value is, if it is one by now.
    pub(super) fn as_tab(&mut self, value: u64) -> Option<u64> {
        match self.kind_of(value)? {
            Kind::TAB => Some(value),
            Kind::APP if len(self.head(value)) == 2 => {
                let (head, values) = (self.field(value, 0), self.field(value, 1));
                if self.kind_of(head) == Some(Kind::SET) { self.tab_of(head, values) } else { None }
            }
            _ => None,
        }
    }

    /// Name, arity and body of what stands for a law.
    pub(super) fn law_parts(&mut self, value: u64) -> Option<(u64, u64, u64)> {
        Some(match self.kind_of(value)? {
            Kind::LAW => (self.field(value, 0), self.field(value, 1), self.field(value, 2)),
            Kind::BAR => {
                let limbs = self.bar_limbs(value);
                (ONE, ONE, self.nat_of(&limbs))
            }
            Kind::SET => (ONE, TWO, self.keys_row(value)),
            Kind::ROW if len(self.head(value)) == 0 => (ZERO, ONE, ZERO),
            _ => return None,
        })
    }

    /// The keys of a set or a table as a row.
    pub(super) fn keys_row(&mut self, value: u64) -> u64 {
        let keys = tree::keys(self, self.field(value, 0));
        self.row(&keys)
    }

    /// The values of a table as a row.
    pub(super) fn values_row(&mut self, value: u64) -> u64 {
        let values = tree::values(self, self.field(value, 0));
        self.row(&values)
    }

    /// The keys of a table as a set.
    pub(super) fn keys_set(&mut self, value: u64) -> u64 {
        let keys = tree::keys(self, self.field(value, 0));
        self.set_of(&keys)
    }

    /// Head and arguments, flat, of what stands for an application.
    pub(super) fn app_parts(&mut self, value: u64) -> Option<Vec<u64>> {
        Some(match self.kind_of(value)? {
            Kind::APP => self.fields(value).to_vec(),
            Kind::ROW if len(self.head(value)) > 0 => {
                let mut all: Vec<u64> = self.fields(value).iter().rev().copied().collect();
                all.insert(0, self.cow(all.len()));
                all
            }
            Kind::TAB => vec![self.keys_set(value), self.values_row(value)],
            _ => return None,
        })
    }

    /// What was applied last, and to what: of an application.
    pub(super) fn app_split(&mut self, value: u64) -> Option<(u64, u64)> {
        let all = self.app_parts(value)?;
        let (last, rest) = all.split_last()?;
        let function = if rest.len() == 1 { rest[0] } else { self.partial_flat(rest) };
        Some((function, *last))
    }

    /// Whether it is known that nothing in a value is left to evaluate.
    pub(super) fn is_normal(&self, value: u64) -> bool {
        !is_lazy(value) && (is_imm(value) || self.head(value) & NORMAL != 0)
    }

    /// Whether nothing in a value is left to evaluate, found out by looking. What is found is noted in its objects.
    pub(super) fn is_evaluated(&mut self, value: u64) -> bool {
        if self.is_normal(value) {
            return true;
        }
        if is_lazy(value) {
            return false;
        }
        let mut path = vec![(value, 0)];
        let mut met = std::collections::HashSet::from([value]);
        while let Some((value, next)) = path.pop() {
            let index = at(value);
            if next == len(self.mem[index]) {
                self.become_normal(value);
                continue;
            }
            path.push((value, next + 1));
            let part = self.resolve(self.mem[index + 1 + next]);
            if self.is_normal(part) {
                continue;
            }
            // Met, and not done: it contains itself.
            if is_lazy(part) || !met.insert(part) {
                return false;
            }
            path.push((part, 0));
        }
        true
    }

    /// Notes that all that is in an object is normal.
    pub(super) fn become_normal(&mut self, value: u64) {
        let index = at(value);
        let head = self.mem[index];
        self.mem[index] = head & !BUSY | NORMAL;
        // A set applied to what has turned out to be a row of as many values is a table: it is made one in its place.
        if super::word::kind(head) == Kind::APP
            && len(head) == 2
            && let Some(tab) = self.as_tab(value)
        {
            self.will_overwrite(index);
            self.mem[index] = header(Kind::TAB, 0, 2) | NORMAL;
            self.mem[index + 1] = self.field(tab, 0);
            self.mem[index + 2] = ZERO;
            self.remember(index);
            // Its nodes are new, and all they have in them is normal.
            for node in tree::nodes(self, self.field(tab, 0)) {
                self.mem[at(node)] |= NORMAL;
            }
        }
    }
}
