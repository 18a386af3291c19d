//! PLAN values: naturals, applications, laws and pins.
//!
//! Invariant: the head of an application is no application, and it has arguments: nested ones are made flat.
//! Invariant: nothing here recurses. A value may be a million levels deep, and is compared, hashed, walked and dropped in
//! bounded stack; work over values that share parts is in proportion to the parts, not to what they would be written out.
//!
//! A value may be one that evaluation would change (`(3 4)`); [`Value::is_normal`] tells.

mod debug;
mod order;
mod shape;

use std::collections::HashSet;
use std::sync::Arc;

use crate::hash::{Budget, PinHash, TooLarge, pin_hash};
use crate::nat::Nat;

pub use shape::{DuplicateKey, Row, Shape};

/// A value.
#[derive(Clone)]
pub enum Value {
    /// A natural number.
    Nat(Nat),
    /// A pin: content that is known by its hash.
    Pin(Arc<Pin>),
    /// A law: a function that is data.
    Law(Arc<Law>),
    /// A function that waits for more arguments.
    App(Arc<App>),
}

/// The content of a pin, with what is known of it.
pub struct Pin {
    content: Value,
    hash: PinHash,
    arity: Nat,
}

/// A function's name, how many arguments it takes, and its body in the language of laws.
pub struct Law {
    name: Nat,
    arity: Nat,
    body: Value,
}

/// An application: a head that is no application, and one argument or more.
pub struct App {
    head: Value,
    args: Box<[Value]>,
}

impl Pin {
    /// What is pinned.
    #[must_use]
    pub fn content(&self) -> &Value {
        &self.content
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> PinHash {
        self.hash
    }
}

impl Law {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Nat {
        &self.name
    }

    /// How many arguments it takes: at least one.
    #[must_use]
    pub fn arity(&self) -> &Nat {
        &self.arity
    }

    /// Its body, as stored.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }
}

impl App {
    /// What is applied.
    #[must_use]
    pub fn head(&self) -> &Value {
        &self.head
    }

    /// What it is applied to.
    #[must_use]
    pub fn args(&self) -> &[Value] {
        &self.args
    }
}

impl Value {
    /// A number of one word.
    #[must_use]
    pub const fn word(word: u64) -> Self {
        Self::Nat(Nat::word(word))
    }

    /// The number that a short name stands for.
    #[must_use]
    pub fn symbol(name: &str) -> Self {
        Self::Nat(Nat::symbol(name))
    }

    /// An application, made flat: of an application to more arguments, one to all of them; of anything to nothing, itself.
    #[must_use]
    pub fn app(head: Self, mut args: Vec<Self>) -> Self {
        if args.is_empty() {
            return head;
        }
        let head = match head {
            Self::App(inner) => {
                args.splice(0..0, inner.args.iter().cloned());
                inner.head.clone()
            }
            head => head,
        };
        Self::App(Arc::new(App { head, args: args.into() }))
    }

    /// A law. There is none that takes no argument.
    #[must_use]
    pub fn law(name: Nat, arity: Nat, body: Self) -> Option<Self> {
        (!arity.is_zero()).then(|| Self::Law(Arc::new(Law { name, arity, body })))
    }

    /// A pin. Its content should be normal: a hash is of what evaluation would leave.
    pub fn pin(content: Self) -> Result<Self, TooLarge> {
        Self::pin_within(content, &mut Budget::default())
    }

    /// A pin, hashed at the cost of a budget.
    pub fn pin_within(content: Self, budget: &mut Budget) -> Result<Self, TooLarge> {
        let hash = pin_hash(&content, budget)?;
        let arity = content.arity();
        Ok(Self::Pin(Arc::new(Pin { content, hash, arity })))
    }

    /// How many arguments it waits for. None, for an application that has all of them.
    #[must_use]
    pub fn arity(&self) -> Nat {
        match self {
            Self::Nat(nat) => Nat::word(match nat.to_word() {
                Some(0 | 2) => 3,
                Some(1) => 5,
                _ => 1,
            }),
            Self::Pin(pin) => pin.arity.clone(),
            Self::Law(law) => law.arity.clone(),
            Self::App(app) => app.head.arity().less(app.args.len() as u64),
        }
    }

    /// Whether evaluation would leave it as it is: no application in it, outside pins, has all its arguments.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        let mut walk = Walk::of(self);
        while let Some(value) = walk.next() {
            match value {
                Self::App(app) => {
                    if value.arity().is_zero() {
                        return false;
                    }
                    walk.push(&app.head);
                    app.args.iter().for_each(|arg| walk.push(arg));
                }
                Self::Law(law) => walk.push(&law.body),
                Self::Nat(_) | Self::Pin(_) => {}
            }
        }
        true
    }

    /// The distinct pins it is made of, not those within them, in the order in which they are met: heads before arguments,
    /// rows by index.
    #[must_use]
    pub fn refs(&self) -> Vec<Arc<Pin>> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut walk = Walk::of(self);
        while let Some(value) = walk.next() {
            match value {
                Self::Nat(_) => {}
                Self::Pin(pin) => {
                    if seen.insert(pin.hash) {
                        found.push(Arc::clone(pin));
                    }
                }
                Self::Law(law) => walk.push(&law.body),
                // The last one pushed is the first one met: a row's arguments are its elements from the last to the first.
                Self::App(app) if value.as_row().is_some() => app.args.iter().for_each(|arg| walk.push(arg)),
                Self::App(app) => {
                    app.args.iter().rev().for_each(|arg| walk.push(arg));
                    walk.push(&app.head);
                }
            }
        }
        found
    }

    /// Whether it has fewer parts than so many, outside pins, shared ones counted once.
    pub(crate) fn has_fewer_parts(&self, count: usize) -> bool {
        let mut walk = Walk::of(self);
        for _ in 0..count {
            match walk.next() {
                None => return true,
                Some(Self::Law(law)) => walk.push(&law.body),
                // They all have to be waiting to be counted.
                Some(Self::App(app)) if app.args.len() >= count => return false,
                Some(Self::App(app)) => {
                    walk.push(&app.head);
                    app.args.iter().for_each(|arg| walk.push(arg));
                }
                Some(Self::Nat(_) | Self::Pin(_)) => {}
            }
        }
        false
    }

    /// Where it is in memory, if it is and others may point there, too.
    pub(crate) fn shared_at(&self) -> Option<usize> {
        let (count, at) = match self {
            Self::Nat(_) => return None,
            Self::Pin(pin) => (Arc::strong_count(pin), Arc::as_ptr(pin).addr()),
            Self::Law(law) => (Arc::strong_count(law), Arc::as_ptr(law).addr()),
            Self::App(app) => (Arc::strong_count(app), Arc::as_ptr(app).addr()),
        };
        (count > 1).then_some(at)
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::word(0)
    }
}

impl From<u64> for Value {
    fn from(word: u64) -> Self {
        Self::word(word)
    }
}

impl From<Nat> for Value {
    fn from(nat: Nat) -> Self {
        Self::Nat(nat)
    }
}

/// A walk over the parts of a value, each shared one once, the last one pushed first.
pub(crate) struct Walk<'a> {
    stack: Vec<&'a Value>,
    seen: HashSet<usize>,
}

impl<'a> Walk<'a> {
    pub(crate) fn of(top: &'a Value) -> Self {
        Self { stack: vec![top], seen: HashSet::new() }
    }

    pub(crate) fn push(&mut self, value: &'a Value) {
        self.stack.push(value);
    }

    pub(crate) fn next(&mut self) -> Option<&'a Value> {
        loop {
            let value = self.stack.pop()?;
            if value.shared_at().is_none_or(|at| self.seen.insert(at)) {
                return Some(value);
            }
        }
    }
}

/// Lets go of values level by level: what the compiler would do is recurse.
fn release(values: impl Iterator<Item = Value>) {
    let mut stack: Vec<Value> = values.filter(|value| !matches!(value, Value::Nat(_))).collect();
    while let Some(value) = stack.pop() {
        match value {
            Value::Nat(_) => {}
            Value::Pin(pin) => stack.extend(Arc::into_inner(pin).map(|mut pin| std::mem::take(&mut pin.content))),
            Value::Law(law) => stack.extend(Arc::into_inner(law).map(|mut law| std::mem::take(&mut law.body))),
            Value::App(app) => {
                if let Some(mut app) = Arc::into_inner(app) {
                    stack.push(std::mem::take(&mut app.head));
                    stack.extend(std::mem::take(&mut app.args));
                }
            }
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        release(std::iter::once(std::mem::take(&mut self.content)));
    }
}

impl Drop for Law {
    fn drop(&mut self) {
        release(std::iter::once(std::mem::take(&mut self.body)));
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let args = std::mem::take(&mut self.args);
        release(std::iter::once(std::mem::take(&mut self.head)).chain(args));
    }
}
