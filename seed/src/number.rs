//! Newtypes for whatever is counted, so that no two kinds of number can be mixed up.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The number after this one; saturates, which no real count reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
    };
}

number!(
    /// Position of a record in a machine's log, counted from 0, dense, never going back.
    Seq(u64)
);
number!(
    /// Position of a 4 KiB page in a memory.
    PageIndex(u32)
);
number!(
    /// A port, as the machine knows it. Never reused in a machine's life.
    PortId(u64)
);
number!(
    /// A request, numbered by the machine that made it; 0 means that no answer is wanted.
    RequestId(u64)
);
number!(
    /// An answer owed to an asker, numbered by the host; 0 means that none is.
    ReplyId(u64)
);
number!(
    /// An ask without an answer, numbered by the host until its delivery is logged.
    EffectId(u64)
);
number!(
    /// An ask of a port whose calls carry a key, counted from 1 over a machine's whole life, through copies and seeds of it.
    CallId(u64)
);
number!(
    /// Nanoseconds: a span of CPU time, or host time since 1970-01-01T00:00:00Z.
    Nanos(u64)
);

impl PortId {
    /// The owner: `abide send` and `abide repl`. Always there.
    pub const OWNER: Self = Self(0);
    /// The least number that docs/abi.md leaves to the ports a person grants.
    pub const FIRST_FREE: Self = Self(4);
}

impl RequestId {
    /// "No answer wanted."
    pub const NONE: Self = Self(0);
}

impl ReplyId {
    /// "No answer owed."
    pub const NONE: Self = Self(0);
}

impl Nanos {
    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_saturate_instead_of_going_back() {
        assert_eq!(Seq(41).next(), Seq(42));
        assert_eq!(Seq(u64::MAX).next(), Seq(u64::MAX));
        assert_eq!(PageIndex(u32::MAX).next(), PageIndex(u32::MAX));
        assert_eq!(Nanos(u64::MAX).plus(Nanos(1)), Nanos(u64::MAX));
        assert_eq!(Nanos::from_millis(u64::MAX), Nanos(u64::MAX));
        assert_eq!(Nanos::from_millis(2), Nanos(2_000_000));
    }

    #[test]
    fn numbers_show_as_numbers() {
        assert_eq!(format!("{} {:>4}", Seq(7), PortId::FIRST_FREE), "7    4");
    }
}
