//! What several test files share: a shelf of objects, and hexadecimal.

#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod samples;
pub(crate) mod vectors;

use std::collections::HashMap;

use seed::object::{Link, Objects};
use seed::{Domain, Id, LoadError};
#[allow(unused_imports, reason = "every test binary uses a part of it")]
pub(crate) use vectors::{from_hex, to_hex};

/// Objects in memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct Shelf(pub(crate) HashMap<Link, Vec<u8>>);

impl Shelf {
    /// Puts an object of any kind on the shelf, without asking whether it is one.
    pub(crate) fn keep(&mut self, domain: Domain, bytes: Vec<u8>) -> Id {
        let id = Id::of(domain, &bytes);
        self.0.insert((domain, id), bytes);
        id
    }

    /// Keeps what a tree or trie hands out.
    pub(crate) fn keep_nodes(&mut self, nodes: Vec<(Id, Vec<u8>)>) {
        self.0.extend(nodes.into_iter().map(|(id, bytes)| ((Domain::Node, id), bytes)));
    }
}

impl Objects for Shelf {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        self.0.get(&(domain, *id)).cloned().ok_or(LoadError::Missing { domain, id: *id })
    }
}

/// An error and its causes, as a person sees them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
