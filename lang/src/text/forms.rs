//! Forms: a text as what nests in what, with the place of each in the source, in one list without pointers.

use super::error::Span;
use super::literal::{parse_hex, parse_nat, parse_text};
use crate::hash::PinHash;
use crate::nat::Nat;

/// What a form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `12`, `0x7f`, `1_000`.
    Nat,
    /// `"abc"`.
    Text,
    /// `#x"00ff"`.
    Bytes,
    /// `foo`.
    Name,
    /// `#pin{..}`: a pin by its hash.
    Pin,
    /// `(f x)`.
    List,
    /// `[a b]`.
    Row,
    /// `{k v}`.
    Table,
    /// `#{a b}`.
    Set,
    /// `#(f x)`: an application itself, not what it comes to.
    Frozen,
    /// `'x`.
    Quote,
    /// `#_x`: not read.
    Discard,
    /// `; ..`.
    Comment {
        /// Whether something stands before it on its line.
        is_trailing: bool,
    },
}

impl Kind {
    /// What it begins and ends with.
    pub(super) fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::List => ("(", ")"),
            Self::Row => ("[", "]"),
            Self::Table => ("{", "}"),
            Self::Set => ("#{", "}"),
            Self::Frozen => ("#(", ")"),
            Self::Quote => ("'", ""),
            Self::Discard => ("#_", ""),
            _ => ("", ""),
        }
    }

    pub(super) fn is_atom(self) -> bool {
        matches!(self, Self::Nat | Self::Text | Self::Bytes | Self::Name | Self::Pin)
    }
}

/// A form among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormId(pub(super) u32);

/// A form.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub span: Span,
    /// Whether an empty line is before it.
    pub(super) is_apart: bool,
    pub(super) kids: (u32, u32),
}

/// All forms of a source, and the source.
#[derive(Debug)]
pub struct Forms {
    pub(super) source: String,
    pub(super) forms: Vec<Form>,
    pub(super) kids: Vec<FormId>,
    pub(super) top: Vec<FormId>,
}

impl Forms {
    /// What they were read from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The outermost ones.
    #[must_use]
    pub fn top(&self) -> &[FormId] {
        &self.top
    }

    /// A form.
    #[must_use]
    pub fn get(&self, id: FormId) -> Form {
        self.forms[id.0 as usize]
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self, id: FormId) -> Kind {
        self.get(id).kind
    }

    /// Where it is.
    #[must_use]
    pub fn span(&self, id: FormId) -> Span {
        self.get(id).span
    }

    /// The forms in it.
    #[must_use]
    pub fn kids(&self, id: FormId) -> &[FormId] {
        let (start, end) = self.get(id).kids;
        &self.kids[start as usize..end as usize]
    }

    /// Its text.
    #[must_use]
    pub fn text(&self, id: FormId) -> &str {
        self.span(id).of(&self.source)
    }

    /// The name that it is.
    #[must_use]
    pub fn as_name(&self, id: FormId) -> Option<&str> {
        (self.kind(id) == Kind::Name).then(|| self.text(id))
    }

    /// The number that it is.
    #[must_use]
    pub fn as_nat(&self, id: FormId) -> Option<Nat> {
        (self.kind(id) == Kind::Nat).then(|| parse_nat(self.text(id)).ok())?
    }

    /// The bytes that it is, of a text or of bytes.
    #[must_use]
    pub fn as_bytes(&self, id: FormId) -> Option<Vec<u8>> {
        let text = self.text(id);
        match self.kind(id) {
            Kind::Text => parse_text(text.get(1..text.len() - 1)?).ok(),
            Kind::Bytes => parse_hex(text.get(3..text.len() - 1)?),
            _ => None,
        }
    }

    /// The hash that it is.
    #[must_use]
    pub fn as_pin(&self, id: FormId) -> Option<PinHash> {
        let text = self.text(id).strip_prefix("#pin{")?.strip_suffix('}')?;
        PinHash::from_text(text).filter(|_| self.kind(id) == Kind::Pin)
    }
}
