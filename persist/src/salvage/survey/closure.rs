//! Whether an image is whole: whether everything that it needs, however far down, proves itself and is where it may be. Each object is looked at once,
//! however many images share it.

use std::collections::HashMap;

use seed::image::{Image, Ledger, Process};
use seed::object::{Link, links};
use seed::{Domain, Id, Objects};

use super::{Boundary, LOST_MAX};
use crate::part::{Lost, Part};
use crate::salvage::Salvage;
use crate::verify::verify_shape;

/// Which objects are whole with all that they need.
pub(super) struct Closure<'s> {
    pub(super) salvage: &'s mut Salvage,
    known: HashMap<Link, bool>,
}

impl<'s> Closure<'s> {
    pub(super) fn new(salvage: &'s mut Salvage) -> Self {
        Self { salvage, known: HashMap::new() }
    }

    pub(super) fn is_whole(&mut self, root: Id) -> bool {
        if !self.is_closed((Domain::Object, root)) {
            return false;
        }
        let image = self.salvage.load(Domain::Object, &root).ok().and_then(|bytes| Image::decode(&bytes).ok());
        image.is_some_and(|image| verify_shape(self.salvage, &image).is_ok())
    }

    pub(super) fn is_closed(&mut self, link: Link) -> bool {
        if let Some(known) = self.known.get(&link) {
            return *known;
        }
        let needed = self.salvage.load(link.0, &link.1).ok().and_then(|bytes| links(link.0, &bytes).ok());
        let closed = needed.is_some_and(|needed| needed.into_iter().all(|needed| self.is_closed(needed)));
        self.known.insert(link, closed);
        closed
    }

    /// What an image needs and cannot be had.
    pub(super) fn lost(&mut self, root: Id) -> Vec<Lost> {
        let mut lost: Vec<Lost> = Vec::new();
        let mut open = vec![(Part::Image, (Domain::Object, root))];
        while let Some((part, link)) = open.pop() {
            if lost.len() >= LOST_MAX || self.is_closed(link) || lost.iter().any(|lost| lost.link == link) {
                continue;
            }
            match self.salvage.load(link.0, &link.1) {
                Err(source) => lost.push(Lost { link, part, source }),
                Ok(bytes) => open.extend(part.needs(link.0, &bytes).unwrap_or_default()),
            }
        }
        lost
    }

    /// The image of a machine before its first step follows from a later one of the same program, but for what was granted since.
    pub(super) fn derive_first_image(&mut self, first: Id, later: &Boundary) -> bool {
        let later = self.salvage.load(Domain::Object, &later.root).ok().and_then(|bytes| Image::decode(&bytes).ok());
        let Some(mut image) = later else { return false };
        image.processes = vec![Process { state: None, handover: None, ledger: Ledger::first() }];
        if image.root() != first {
            return false;
        }
        self.salvage.derive(Domain::Object, image.encode());
        self.known.remove(&(Domain::Object, first));
        self.is_whole(first)
    }
}
