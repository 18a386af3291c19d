//! What an object is to the image that needs it: its code, a page of its memory, a node of its ledger. For people who are told that it is damaged.

use std::fmt;

use seed::cbor::CborError;
use seed::image::Image;
use seed::object::{Link, links};
use seed::tree::{FANOUT, TreeNode};
use seed::{Domain, LoadError, PageIndex};

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The image itself.
    Image,
    /// The program.
    Code,
    /// What the program was booted with.
    Genesis,
    /// What the program before has left.
    Handover,
    /// The contents of a table.
    Table(usize),
    /// A node of the tree over a memory, and the first page below it.
    Node {
        /// Which memory.
        memory: usize,
        /// 0 above pages.
        level: Option<u32>,
        /// The first page below.
        first: u64,
    },
    /// A page of a memory.
    Page {
        /// Which memory.
        memory: usize,
        /// Which page.
        page: PageIndex,
    },
    /// A node of one of the ledger's tries.
    Ledger(&'static str),
    /// A payload that an entry of the ledger leads to.
    Payload(&'static str),
}

const LEDGER: [&str; 4] = ["requests", "owed replies", "effects", "outcomes"];

impl Part {
    /// What the bytes of this part need, with what that is.
    ///
    /// # Errors
    /// If they are not such a part.
    pub fn needs(self, domain: Domain, bytes: &[u8]) -> Result<Vec<(Part, Link)>, CborError> {
        match self {
            Self::Image => Image::decode(bytes).map(|image| Self::of_image(&image)),
            Self::Node { memory, first, .. } => TreeNode::decode(bytes).map(|node| {
                let kid = |(position, id): (usize, seed::Id)| {
                    let below = first + ((position as u64) << (FANOUT.trailing_zeros() * node.level));
                    match node.level.checked_sub(1) {
                        None => {
                            let page = PageIndex(u32::try_from(below).unwrap_or(u32::MAX));
                            (Self::Page { memory, page }, (Domain::Page, id))
                        }
                        level => (Self::Node { memory, level, first: below }, (Domain::Node, id)),
                    }
                };
                node.kids.into_iter().map(kid).collect()
            }),
            Self::Ledger(name) => Ok(links(domain, bytes)?
                .into_iter()
                .map(|link| (if link.0 == Domain::Node { self } else { Self::Payload(name) }, link))
                .collect()),
            _ => Ok(links(domain, bytes)?.into_iter().map(|link| (self, link)).collect()),
        }
    }

    fn of_image(image: &Image) -> Vec<(Part, Link)> {
        let mut parts =
            vec![(Self::Code, (Domain::Object, image.code)), (Self::Genesis, (Domain::Object, image.genesis))];
        for process in &image.processes {
            parts.extend(process.handover.map(|id| (Self::Handover, (Domain::Object, id))));
            for (memory, known) in process.state.iter().flat_map(|state| &state.memories).enumerate() {
                let node = Self::Node { memory, level: None, first: 0 };
                parts.extend(known.root.map(|root| (node, (Domain::Node, root))));
            }
            for (number, table) in process.state.iter().flat_map(|state| &state.tables).enumerate() {
                parts.push((Self::Table(number), (Domain::Object, table.content)));
            }
            let ledger = &process.ledger;
            let roots = [ledger.requests, ledger.replies, ledger.effects, ledger.outcomes];
            for (name, root) in LEDGER.into_iter().zip(roots) {
                parts.extend(root.map(|root| (Self::Ledger(name), (Domain::Node, root))));
            }
        }
        parts
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => f.write_str("the image itself"),
            Self::Code => f.write_str("its code"),
            Self::Genesis => f.write_str("its genesis data"),
            Self::Handover => f.write_str("what the program before has handed over"),
            Self::Table(number) => write!(f, "the contents of its table {number}"),
            Self::Node { memory, level: None, .. } => write!(f, "the top of the page tree of its memory {memory}"),
            Self::Node { memory, level: Some(level), first } => {
                let pages = 1_u64 << (FANOUT.trailing_zeros() * (level + 1));
                write!(f, "the node above pages {first} to {} of its memory {memory}", first + pages - 1)
            }
            Self::Page { memory, page } => {
                write!(f, "page {page} of its memory {memory} (address {:#x})", u64::from(page.0) * 4096)
            }
            Self::Ledger(name) => write!(f, "its table of {name}"),
            Self::Payload(name) => write!(f, "a payload in its table of {name}"),
        }
    }
}

/// An object that cannot be had.
#[derive(Debug)]
pub struct Lost {
    /// Which.
    pub link: Link,
    /// What it is to the image.
    pub part: Part,
    /// How that shows.
    pub source: LoadError,
}
