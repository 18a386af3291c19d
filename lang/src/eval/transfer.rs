//! Values into a heap and out of it. What is shared stays shared.

use std::collections::HashMap;

use thiserror::Error;

use super::Machine;
use super::word::{Kind, MANY, NORMAL, ZERO, at, header, imm, is_imm, is_lazy, kind, lazy};
use crate::hash::TooLarge;
use crate::nat::Nat;
use crate::value::Value;

/// Why a value cannot be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// A pin in it.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// It is not normal.
    #[error("the value has parts that are not evaluated yet: evaluate it to normal form first")]
    NotNormal,
    /// It is of more parts than the caller takes.
    #[error("the value is too large for this: take a part of it")]
    TooManyParts,
}

enum Task<'a> {
    Enter(&'a Value),
    Leave(&'a Value),
}

/// How many pinned laws are kept for whoever takes them in again.
const KNOWN_MAX: usize = 4096;

/// A value taken in, and whether nothing in it is left to evaluate.
type Loaded = (u64, bool);

impl Machine {
    pub(super) fn load_word(&mut self, value: &Value) -> u64 {
        let mut tasks = vec![Task::Enter(value)];
        let mut done: Vec<Loaded> = Vec::new();
        let mut met: HashMap<usize, Loaded> = HashMap::new();
        while let Some(task) = tasks.pop() {
            match task {
                Task::Enter(value) => {
                    if let Some(loaded) = value.shared_at().and_then(|at| met.get(&at)) {
                        done.push(*loaded);
                        continue;
                    }
                    if let Some(word) = self.known_pin(value) {
                        done.push((word, true));
                        continue;
                    }
                    tasks.push(Task::Leave(value));
                    match value {
                        Value::Nat(_) => {}
                        Value::Pin(pin) => tasks.push(Task::Enter(pin.content())),
                        Value::Law(law) => tasks.push(Task::Enter(law.body())),
                        Value::App(app) => {
                            tasks.extend(app.args().iter().rev().map(Task::Enter));
                            tasks.push(Task::Enter(app.head()));
                        }
                    }
                }
                Task::Leave(value) => {
                    let parts = match value {
                        Value::Nat(_) => 0,
                        Value::Pin(_) | Value::Law(_) => 1,
                        Value::App(app) => app.args().len() + 1,
                    };
                    let parts = done.split_off(done.len() - parts);
                    let loaded = self.load_one(value, &parts);
                    self.know_pin(value, loaded);
                    if let Some(at) = value.shared_at() {
                        met.insert(at, loaded);
                    }
                    done.push(loaded);
                }
            }
        }
        done.pop().map_or(ZERO, |(word, _)| word)
    }

    /// The word of a pinned law that was taken in before: with it go its instructions.
    fn known_pin(&self, value: &Value) -> Option<u64> {
        let Value::Pin(pin) = value else { return None };
        self.known.get(&pin.hash()).map(|root| self.roots[root.0])
    }

    fn know_pin(&mut self, value: &Value, (word, normal): Loaded) {
        match value {
            Value::Pin(pin) if normal && matches!(pin.content(), Value::Law(_)) => {
                // Few where all that is alive is looked at at every turn; and so they are forgotten now and then.
                let most = if self.limits.stress { 16 } else { KNOWN_MAX };
                if self.known.len() >= most {
                    self.forget_pins();
                }
                let root = self.hold(word);
                self.known.insert(pin.hash(), root);
            }
            _ => {}
        }
    }

    /// Pinned laws that are taken in from now on are made anew.
    pub(super) fn forget_pins(&mut self) {
        for (_, root) in std::mem::take(&mut self.known) {
            self.release(root);
        }
    }

    fn load_nat(&mut self, nat: &Nat) -> u64 {
        match nat.to_word() {
            Some(word) => self.heap.nat(word),
            None => self.heap.nat_of(&nat.to_words()),
        }
    }

    fn load_one(&mut self, value: &Value, parts: &[Loaded]) -> Loaded {
        let normal = parts.iter().all(|(_, normal)| *normal);
        match value {
            Value::Nat(nat) => (self.load_nat(nat), true),
            Value::Law(law) => {
                let (name, arity) = (self.load_nat(law.name()), self.load_nat(law.arity()));
                if normal {
                    return (self.heap.law(name, arity, parts[0].0), true);
                }
                (self.load_apply(&[ZERO, name, arity, parts[0].0]), false)
            }
            Value::Pin(pin) if normal => {
                let word = self.heap.pin(parts[0].0);
                self.heap.set_pin_hash(word, &pin.hash());
                if let Some(jet) = self.jet_number(&pin.hash(), word) {
                    self.heap.mem[at(word) + 3] = imm(jet as u64);
                }
                (word, true)
            }
            Value::Pin(_) => (self.load_apply(&[imm(4), parts[0].0]), false),
            Value::App(_) => {
                let words: Vec<u64> = parts.iter().map(|(word, _)| *word).collect();
                if is_lazy(words[0]) {
                    return (self.load_apply(&words), false);
                }
                let arity = self.heap.arity(words[0]);
                if words.len() > arity && arity != MANY {
                    return (self.load_apply(&words), false);
                }
                let word = self.heap.partial(words[0], &words[1..]);
                if normal {
                    let index = at(word);
                    self.heap.mem[index] |= NORMAL;
                    if kind(self.heap.mem[index]) == Kind::TAB {
                        for node in super::tree::nodes(&self.heap, self.heap.field(word, 0)) {
                            self.heap.mem[at(node)] |= NORMAL;
                        }
                    }
                }
                (word, normal)
            }
        }
    }

    fn load_apply(&mut self, words: &[u64]) -> u64 {
        lazy(self.heap.make(header(Kind::APTHUNK, 0, words.len()), words))
    }

    /// The value of a word.
    pub(super) fn read_word(&self, word: u64) -> Result<Value, ReadError> {
        self.read_up_to(word, usize::MAX)
    }

    /// The value of a word, if it has no more than so many parts; of bytes and large numbers, each word is one.
    pub(super) fn read_up_to(&self, word: u64, mut parts_max: usize) -> Result<Value, ReadError> {
        let heap = &self.heap;
        let mut tasks = vec![(word, false)];
        let mut done: Vec<Value> = Vec::new();
        let mut met: HashMap<u64, Value> = HashMap::new();
        while let Some((word, leave)) = tasks.pop() {
            let word = heap.resolve(word);
            if is_lazy(word) {
                return Err(ReadError::NotNormal);
            }
            if is_imm(word) {
                done.push(Value::word(word >> 1));
                continue;
            }
            if !leave {
                let size = match kind(heap.head(word)) {
                    Kind::SET | Kind::TAB => 2 * super::tree::size(heap, heap.field(word, 0)),
                    _ => super::word::len(heap.head(word)),
                };
                parts_max = parts_max.checked_sub(size + 1).ok_or(ReadError::TooManyParts)?;
            }
            if !leave && let Some(value) = met.get(&word) {
                done.push(value.clone());
                continue;
            }
            let parts = match kind(heap.head(word)) {
                Kind::BIG => {
                    done.push(nat(&heap.limbs(word)).into());
                    continue;
                }
                Kind::BAR => {
                    done.push(Value::bar(&heap.bytes(word)));
                    continue;
                }
                Kind::PIN => vec![heap.field(word, 0)],
                Kind::LAW => vec![heap.field(word, 2)],
                Kind::SET => super::tree::keys(heap, heap.field(word, 0)),
                Kind::TAB => {
                    let root = heap.field(word, 0);
                    [super::tree::keys(heap, root), super::tree::values(heap, root)].concat()
                }
                _ => heap.fields(word).to_vec(),
            };
            if !leave {
                tasks.push((word, true));
                tasks.extend(parts.into_iter().rev().map(|part| (part, false)));
                continue;
            }
            let parts = done.split_off(done.len() - parts.len());
            let value = self.read_one(word, parts)?;
            met.insert(word, value.clone());
            done.push(value);
        }
        Ok(done.pop().unwrap_or_default())
    }

    fn read_one(&self, word: u64, mut parts: Vec<Value>) -> Result<Value, ReadError> {
        let heap = &self.heap;
        let set = |keys: Vec<Value>| Value::law(Nat::word(1), Nat::word(2), Value::row(keys)).expect("two arguments");
        Ok(match kind(heap.head(word)) {
            Kind::PIN => Value::pin(parts.remove(0))?,
            Kind::LAW => {
                let (name, arity) = (nat(&heap.limbs(heap.field(word, 0))), nat(&heap.limbs(heap.field(word, 1))));
                Value::law(name, arity, parts.remove(0)).expect("its arity is not zero")
            }
            Kind::ROW => Value::row(parts),
            Kind::SET => set(parts),
            Kind::TAB => {
                let values = parts.split_off(parts.len() / 2);
                Value::app(set(parts), vec![Value::row(values)])
            }
            _ => {
                let head = parts.remove(0);
                Value::app(head, parts)
            }
        })
    }
}

fn nat(limbs: &[u64]) -> Nat {
    let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
    Nat::from_bytes_le(&bytes)
}
