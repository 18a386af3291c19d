//! As much of a value as [`brief`](crate::text::brief) shows of it, taken out of a heap: the work is that of what is shown.

use super::tree;
use super::word::{Kind, is_imm, is_lazy};
use super::{Machine, ReadError, Root};
use crate::nat::Nat;
use crate::text::{BYTES_MAX, ELEMENTS_MAX, PARTS_MAX};
use crate::value::Value;

/// Laws, pins, keys and large numbers are taken out whole, if they have no more parts than this. Otherwise a text says what is there.
const WHOLE_MAX: usize = 1 << 16;

enum Task {
    Part(u64, usize),
    /// A key, which is taken whole: keys are in order.
    Whole(u64),
    /// An element of which only that it is there is shown.
    Mark,
    /// The last so many values make one of this kind.
    Make(u8, usize),
}

impl Machine {
    /// A value that is shown as the one that a root holds is, to any depth up to this.
    ///
    /// # Errors
    /// If it contains something that is not evaluated.
    pub fn sample(&self, root: Root, depth: usize) -> Result<Value, ReadError> {
        self.sample_word(self.roots[root.0], depth)
    }

    pub(super) fn sample_word(&self, word: u64, depth: usize) -> Result<Value, ReadError> {
        let mut tasks = vec![Task::Part(word, 0)];
        let mut done: Vec<Value> = Vec::new();
        // Parts are counted in the order in which they are shown. What comes after the last one that is shown may be anything.
        let mut parts = 0;
        while let Some(task) = tasks.pop() {
            match task {
                Task::Mark => done.push(Value::default()),
                Task::Whole(word) => {
                    parts += 1;
                    done.push(self.whole(word)?);
                }
                Task::Part(word, level) => {
                    parts += 1;
                    if parts > PARTS_MAX {
                        done.push(Value::default());
                    } else {
                        self.sample_part(word, (level, depth), &mut tasks, &mut done)?;
                    }
                }
                Task::Make(kind, count) => {
                    let parts = done.split_off(done.len() - count);
                    done.push(made(kind, parts));
                }
            }
        }
        Ok(done.pop().unwrap_or_default())
    }

    /// All of a value; words in its place if that is too large.
    fn whole(&self, word: u64) -> Result<Value, ReadError> {
        match self.read_up_to(word, WHOLE_MAX) {
            Err(ReadError::TooManyParts | ReadError::TooLarge(_)) => {
                let word = self.heap.resolve(word);
                let what = match self.heap.kind_of(word) {
                    Some(Kind::BIG) => format!("… a number of {} words of 64 bits", self.heap.fields(word).len()),
                    Some(Kind::PIN) => "… a pin that is too large to be shown".to_owned(),
                    Some(Kind::LAW) => "… a law that is too large to be shown".to_owned(),
                    _ => "… a value that is too large to be shown".to_owned(),
                };
                Ok(Value::bar(what.as_bytes()))
            }
            other => other,
        }
    }

    fn sample_part(
        &self,
        word: u64,
        (level, depth): (usize, usize),
        tasks: &mut Vec<Task>,
        done: &mut Vec<Value>,
    ) -> Result<(), ReadError> {
        let heap = &self.heap;
        let word = heap.resolve(word);
        if is_lazy(word) {
            return Err(ReadError::NotNormal);
        }
        if is_imm(word) {
            done.push(Value::word(word >> 1));
            return Ok(());
        }
        let kind = super::word::kind(heap.head(word));
        let entries = |count_max: usize| {
            let root = heap.field(word, 0);
            (0..tree::size(heap, root).min(count_max)).filter_map(move |rank| tree::nth(heap, root, rank))
        };
        let parts: Vec<Task> = match kind {
            Kind::BIG | Kind::PIN => {
                done.push(self.whole(word)?);
                return Ok(());
            }
            // Too deep to be shown, like anything that is neither a number nor a pin.
            _ if level > depth => {
                done.push(Value::row(Vec::new()));
                return Ok(());
            }
            Kind::BAR => {
                let words = &heap.fields(word)[1..];
                let shown = &words[..words.len().min(BYTES_MAX / 8 + 2)];
                let mut bytes: Vec<u8> = shown.iter().flat_map(|word| word.to_le_bytes()).collect();
                bytes.truncate(heap.field(word, 0) as usize);
                done.push(Value::bar(&bytes));
                return Ok(());
            }
            Kind::LAW => {
                done.push(self.whole(word)?);
                return Ok(());
            }
            Kind::SET => entries(ELEMENTS_MAX + 1).map(|(key, _)| Task::Whole(key)).collect(),
            Kind::TAB => {
                let pairs = entries(ELEMENTS_MAX / 2 + 1);
                pairs.flat_map(|(key, value)| [Task::Whole(key), Task::Part(value, level + 1)]).collect()
            }
            _ => heap.fields(word).iter().map(|part| Task::Part(*part, level + 1)).take(ELEMENTS_MAX + 1).collect(),
        };
        tasks.push(Task::Make(kind, parts.len()));
        let is_shown = |index: usize| index < ELEMENTS_MAX;
        tasks.extend(parts.into_iter().enumerate().rev().map(|(index, part)| match part {
            Task::Part(..) if !is_shown(index) => Task::Mark,
            part => part,
        }));
        Ok(())
    }
}

fn made(kind: u8, mut parts: Vec<Value>) -> Value {
    let set = |keys: Vec<Value>| Value::law(Nat::word(1), Nat::word(2), Value::row(keys)).expect("two arguments");
    match kind {
        Kind::ROW => Value::row(parts),
        Kind::SET => set(parts),
        Kind::TAB => {
            let values = parts.iter().skip(1).step_by(2).cloned().collect();
            let keys = parts.into_iter().step_by(2).collect();
            Value::app(set(keys), vec![Value::row(values)])
        }
        _ => {
            let head = parts.remove(0);
            Value::app(head, parts)
        }
    }
}
