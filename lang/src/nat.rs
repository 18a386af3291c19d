//! Natural numbers of any size: a word inline, anything larger shared.
//!
//! Invariant: a number that fits in 64 bits is never held large, so that equal numbers have one representation.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use num_bigint::BigUint;

/// A natural number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Nat(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Word(u64),
    Large(Arc<BigUint>),
}

impl Nat {
    /// Zero.
    pub const ZERO: Self = Self::word(0);

    /// A number of one word.
    #[must_use]
    pub const fn word(word: u64) -> Self {
        Self(Repr::Word(word))
    }

    /// The number whose digits in base 256 are these bytes, the least first.
    #[must_use]
    pub fn from_bytes_le(bytes: &[u8]) -> Self {
        match bytes.len() {
            0..=8 => {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                Self::word(u64::from_le_bytes(word))
            }
            _ => BigUint::from_bytes_le(bytes).into(),
        }
    }

    /// The number that a short name stands for: its bytes, the first the least.
    #[must_use]
    pub fn symbol(name: &str) -> Self {
        Self::from_bytes_le(name.as_bytes())
    }

    /// The number, if it fits in a word.
    #[must_use]
    pub fn to_word(&self) -> Option<u64> {
        match &self.0 {
            Repr::Word(word) => Some(*word),
            Repr::Large(_) => None,
        }
    }

    /// The number as num-bigint has it.
    #[must_use]
    pub fn to_big(&self) -> BigUint {
        match &self.0 {
            Repr::Word(word) => BigUint::from(*word),
            Repr::Large(large) => large.as_ref().clone(),
        }
    }

    /// Its digits in base 2^64, the least first; none for zero.
    #[must_use]
    pub fn to_words(&self) -> Vec<u64> {
        match &self.0 {
            Repr::Word(0) => Vec::new(),
            Repr::Word(word) => vec![*word],
            Repr::Large(large) => large.to_u64_digits(),
        }
    }

    /// Its digits in base 256, the least first; none for zero.
    #[must_use]
    pub fn to_bytes_le(&self) -> Vec<u8> {
        match &self.0 {
            Repr::Word(word) => word.to_le_bytes()[..self.byte_count()].to_vec(),
            Repr::Large(large) => large.to_bytes_le(),
        }
    }

    /// How many bits it has without leading zeros.
    #[must_use]
    pub fn bit_count(&self) -> u64 {
        match &self.0 {
            Repr::Word(word) => u64::from(u64::BITS - word.leading_zeros()),
            Repr::Large(large) => large.bits(),
        }
    }

    /// How many bytes it has without leading zeros.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        usize::try_from(self.bit_count().div_ceil(8)).expect("a number in memory has fewer bytes than memory")
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == Repr::Word(0)
    }

    /// One more.
    #[must_use]
    pub fn next(&self) -> Self {
        match &self.0 {
            Repr::Word(word) if *word < u64::MAX => Self::word(word + 1),
            _ => (self.to_big() + 1u32).into(),
        }
    }

    /// So much less, and zero at the least.
    #[must_use]
    pub fn less(&self, by: u64) -> Self {
        match &self.0 {
            Repr::Word(word) => Self::word(word.saturating_sub(by)),
            Repr::Large(large) => (large.as_ref() - by).into(),
        }
    }
}

impl Default for Nat {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<u64> for Nat {
    fn from(word: u64) -> Self {
        Self::word(word)
    }
}

impl From<BigUint> for Nat {
    fn from(number: BigUint) -> Self {
        match u64::try_from(&number) {
            Ok(word) => Self::word(word),
            Err(_) => Self(Repr::Large(Arc::new(number))),
        }
    }
}

impl PartialEq<u64> for Nat {
    fn eq(&self, word: &u64) -> bool {
        self.to_word() == Some(*word)
    }
}

impl Ord for Nat {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Word(a), Repr::Word(b)) => a.cmp(b),
            (Repr::Word(_), Repr::Large(_)) => Ordering::Less,
            (Repr::Large(_), Repr::Word(_)) => Ordering::Greater,
            (Repr::Large(a), Repr::Large(b)) => a.cmp(b),
        }
    }
}

impl PartialOrd for Nat {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Decimal. The work grows with the square of the length: for what may be long there is [`fmt::LowerHex`].
impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Word(word) => fmt::Display::fmt(word, f),
            Repr::Large(large) => fmt::Display::fmt(large.as_ref(), f),
        }
    }
}

impl fmt::LowerHex for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Word(word) => fmt::LowerHex::fmt(word, f),
            Repr::Large(large) => fmt::LowerHex::fmt(large.as_ref(), f),
        }
    }
}

impl fmt::Debug for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bit_count() {
            0..=256 => fmt::Display::fmt(self, f),
            bits => write!(f, "a number of {bits} bits"),
        }
    }
}
