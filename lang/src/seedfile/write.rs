//! From a value to the bytes of a seed, in three steps: equal cells made one, cells gathered into fragments, bits written.

use std::collections::HashMap;

use super::WriteError;
use super::bits::{BitWriter, place_bits};
use super::table::rank;
use crate::hash::PinHash;
use crate::nat::Nat;
use crate::value::{Pin, Value};

type Place = u32;

/// What a tree is made of; equal ones are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Hole(u32),
    Nat(u32),
    Cell(Place, Place),
}

/// Writes a value in which these pins, and no others of the same hash, are holes.
pub(super) fn write(value: &Value, holes: &[&Pin]) -> Result<Vec<u8>, WriteError> {
    let mut forest = Forest::default();
    for (index, pin) in (0..).zip(holes) {
        let hole = forest.node(Node::Hole(index))?;
        forest.pins.insert(pin.hash(), hole);
    }
    let top = forest.plant(value)?;
    Ok(forest.encode(top, holes.len()))
}

#[derive(Default)]
struct Forest {
    nodes: Vec<Node>,
    places: HashMap<Node, Place>,
    nats: Vec<Nat>,
    nat_indices: HashMap<Nat, u32>,
    pins: HashMap<PinHash, Place>,
}

/// What is to be done: a stack of this is a walk.
enum Step<'a> {
    Value(&'a Value),
    Nat(Nat),
    /// Makes a cell of the last two.
    Cell,
    /// Remembers the last one as what stands at an address, or for a pin.
    At(usize),
    Pinned(PinHash),
}

impl Forest {
    fn plant(&mut self, value: &Value) -> Result<Place, WriteError> {
        if !value.is_normal() {
            return Err(WriteError::Computation);
        }
        let mut known: HashMap<usize, Place> = HashMap::new();
        let mut grown: Vec<Place> = Vec::new();
        let mut steps = vec![Step::Value(value)];
        while let Some(step) = steps.pop() {
            let value = match step {
                Step::Value(value) => value,
                Step::Nat(nat) => {
                    grown.push(self.nat(&nat)?);
                    continue;
                }
                Step::Cell => {
                    if let (Some(tail), Some(head)) = (grown.pop(), grown.pop()) {
                        grown.push(self.node(Node::Cell(head, tail))?);
                    }
                    continue;
                }
                Step::At(at) => {
                    known.extend(grown.last().map(|place| (at, *place)));
                    continue;
                }
                Step::Pinned(hash) => {
                    self.pins.extend(grown.last().map(|place| (hash, *place)));
                    continue;
                }
            };
            if let Some(at) = value.shared_at() {
                if let Some(place) = known.get(&at) {
                    grown.push(*place);
                    continue;
                }
                steps.push(Step::At(at));
            }
            match value {
                Value::Nat(nat) => grown.push(self.nat(nat)?),
                Value::Pin(pin) => match self.pins.get(&pin.hash()) {
                    Some(place) => grown.push(*place),
                    None if !pin.content().is_normal() => return Err(WriteError::Computation),
                    None => {
                        let cell = [Step::Cell, Step::Value(pin.content()), Step::Nat(Nat::word(4))];
                        steps.push(Step::Pinned(pin.hash()));
                        steps.extend(cell);
                    }
                },
                Value::Law(law) => {
                    steps.extend([Step::Cell, Step::Value(law.body())]);
                    steps.extend([Step::Cell, Step::Nat(law.arity().clone())]);
                    steps.extend([Step::Cell, Step::Nat(law.name().clone()), Step::Nat(Nat::ZERO)]);
                }
                Value::App(app) => {
                    steps.extend(app.args().iter().rev().flat_map(|arg| [Step::Cell, Step::Value(arg)]));
                    steps.push(Step::Value(app.head()));
                }
            }
        }
        Ok(grown.pop().unwrap_or_default())
    }

    fn nat(&mut self, nat: &Nat) -> Result<Place, WriteError> {
        let index = match self.nat_indices.get(nat) {
            Some(index) => *index,
            None => {
                let index = u32::try_from(self.nats.len()).map_err(|_| WriteError::TooMany)?;
                self.nats.push(nat.clone());
                self.nat_indices.insert(nat.clone(), index);
                index
            }
        };
        self.node(Node::Nat(index))
    }

    fn node(&mut self, node: Node) -> Result<Place, WriteError> {
        if let Some(place) = self.places.get(&node) {
            return Ok(*place);
        }
        let place = Place::try_from(self.nodes.len()).map_err(|_| WriteError::TooMany)?;
        self.nodes.push(node);
        self.places.insert(node, place);
        Ok(place)
    }

    fn cell(&self, place: Place) -> Option<(Place, Place)> {
        match self.nodes[place as usize] {
            Node::Cell(head, tail) => Some((head, tail)),
            Node::Hole(_) | Node::Nat(_) => None,
        }
    }

    /// The cells that are fragments, in order.
    fn fragments(&self, top: Place) -> Vec<Place> {
        let mut is_shared = vec![false; self.nodes.len()];
        let mut is_met = vec![false; self.nodes.len()];
        for node in &self.nodes {
            if let Node::Cell(head, tail) = node {
                for place in [*head as usize, *tail as usize] {
                    is_shared[place] |= is_met[place];
                    is_met[place] = true;
                }
            }
        }
        enum Visit {
            Enter(Place),
            Leave(Place),
        }
        let mut is_done = vec![false; self.nodes.len()];
        let mut fragments = Vec::new();
        let mut visits = vec![Visit::Enter(top)];
        while let Some(visit) = visits.pop() {
            match visit {
                Visit::Enter(place) => {
                    if let (Some((head, tail)), false) = (self.cell(place), is_done[place as usize]) {
                        visits.extend([Visit::Leave(place), Visit::Enter(tail), Visit::Enter(head)]);
                    }
                }
                Visit::Leave(place) => {
                    is_done[place as usize] = true;
                    if place == top || is_shared[place as usize] {
                        fragments.push(place);
                    }
                }
            }
        }
        fragments
    }

    fn encode(&self, top: Place, holes: usize) -> Vec<u8> {
        let mut order: Vec<usize> = (0..self.nats.len()).collect();
        order.sort_by_cached_key(|index| rank(&self.nats[*index]));
        let large = order.iter().filter(|index| self.nats[**index].bit_count() > 64).count();
        let bytes = order.iter().rev().take_while(|index| self.nats[**index].bit_count() <= 8).count();
        let fragments = self.fragments(top);

        let mut out = Vec::new();
        for count in [holes, large, order.len() - large - bytes, bytes, fragments.len()] {
            out.extend((count as u64).to_le_bytes());
        }
        for index in &order[..large] {
            out.extend((self.nats[*index].to_words().len() as u64).to_le_bytes());
        }
        for index in &order[..order.len() - bytes] {
            out.extend(self.nats[*index].to_words().into_iter().flat_map(u64::to_le_bytes));
        }
        for index in &order[order.len() - bytes..] {
            out.extend(self.nats[*index].to_bytes_le().first().or(Some(&0)));
        }

        let mut ranks = vec![0; order.len()];
        order.iter().zip(0u64..).for_each(|(index, rank)| ranks[*index] = rank);
        let mut in_table: Vec<Option<u64>> = (self.nodes.iter())
            .map(|node| match node {
                Node::Hole(index) => Some(u64::from(*index)),
                Node::Nat(index) => Some(holes as u64 + ranks[*index as usize]),
                Node::Cell(..) => None,
            })
            .collect();
        let leaves = holes + order.len();
        let mut writer = BitWriter::after(out);
        for (number, fragment) in fragments.iter().enumerate() {
            self.write_fragment(*fragment, &in_table, place_bits(leaves + number), &mut writer);
            in_table[*fragment as usize] = Some((leaves + number) as u64);
        }
        writer.finish()
    }

    fn write_fragment(&self, fragment: Place, in_table: &[Option<u64>], bits: u32, writer: &mut BitWriter) {
        let mut left: Vec<Place> = self.cell(fragment).into_iter().flat_map(|(head, tail)| [tail, head]).collect();
        while let Some(place) = left.pop() {
            match in_table[place as usize] {
                Some(entry) => {
                    writer.bit(false);
                    writer.number(entry, bits);
                }
                None => {
                    writer.bit(true);
                    left.extend(self.cell(place).into_iter().flat_map(|(head, tail)| [tail, head]));
                }
            }
        }
    }
}
