//! Where floats and vectors of one function come from and go to, and which of them have to be settled.
//!
//! A node is a value: what an instruction leaves on the stack, a local, or what arrives at a label. An edge says that the bits
//! of one become those of another. From the nodes' own kinds, [`Graph::solve`] derives which kinds of NaN can be in each, and from the
//! observed ones, where to settle.

use std::collections::BTreeMap;

use super::canonical::{Kind, Sign};
use super::operations::Shape;

/// Values followed in one function beyond which it is not analysed; a block or branch of a hostile module can be a thousand.
const WORK_MAX: usize = 1 << 22;

/// A value of a function. [`NONE`] for those that are neither float nor vector.
pub(super) type Node = u32;

/// No value that could hold a NaN.
pub(super) const NONE: Node = u32::MAX;

/// Which NaNs can be in a value: a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Nans(u8);

impl Nans {
    /// None.
    pub(super) const NEVER: Self = Self(0);
    /// Such as have the same bits everywhere, which have to be kept.
    pub(super) const DETERMINED: Self = Self(1);
    const UNSETTLED: u8 = 0b11110;

    /// Those an operation made, or the negation of those.
    pub(super) fn unsettled(shape: Shape, sign: Sign) -> Self {
        Self(match (shape, sign) {
            (Shape::Single, Sign::Positive) => 0b00010,
            (Shape::Single, Sign::Negative) => 0b00100,
            (Shape::Double, Sign::Positive) => 0b01000,
            (Shape::Double, Sign::Negative) => 0b10000,
        })
    }

    fn of_shape(shape: Shape) -> Self {
        Self(match shape {
            Shape::Single => 0b00110,
            Shape::Double => 0b11000,
        })
    }

    fn has_unsettled(self) -> bool {
        self.0 & Self::UNSETTLED != 0
    }

    /// If all NaNs here are one operation's, so that they may be replaced by the canonical one of this shape and sign.
    fn settled_as(self) -> Option<(Shape, Sign)> {
        let all = [
            (Shape::Single, Sign::Positive),
            (Shape::Single, Sign::Negative),
            (Shape::Double, Sign::Positive),
            (Shape::Double, Sign::Negative),
        ];
        all.into_iter().find(|(shape, sign)| Self::unsettled(*shape, *sign) == self)
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// How the bits change on the way into a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// Not at all.
    Same,
    /// Not at all, but they are taken as numbers of this shape.
    As(Shape),
    /// Signs are flipped.
    Negated(Shape),
    /// Signs are cleared.
    Abs(Shape),
}

impl Via {
    fn pass(self, nans: Nans) -> Nans {
        let shape = match self {
            Self::Same => return nans,
            Self::As(shape) | Self::Negated(shape) | Self::Abs(shape) => shape,
        };
        let mut passed = nans;
        // Looked at in the other shape, a value is observed, and so will have been settled.
        let other = nans.without(Nans::DETERMINED).without(Nans::of_shape(shape));
        if other.has_unsettled() {
            passed = passed.without(other).union(Nans::DETERMINED);
        }
        let positive = Nans::unsettled(shape, Sign::Positive);
        let negative = Nans::unsettled(shape, Sign::Negative);
        let has = |nans: Nans| passed.0 & nans.0 != 0;
        let (to_positive, to_negative) = match self {
            Self::Same | Self::As(_) => return passed,
            Self::Negated(_) => (has(negative), has(positive)),
            Self::Abs(_) => (has(positive) || has(negative), false),
        };
        passed = passed.without(Nans::of_shape(shape));
        if to_positive {
            passed = passed.union(positive);
        }
        if to_negative {
            passed = passed.union(negative);
        }
        passed
    }
}

struct Part {
    own: Nans,
    via: Via,
    vector: bool,
    /// Offset of the end of the instruction that leaves the value on top of the stack, if one does.
    after: Option<usize>,
}

/// The values of one function.
#[derive(Default)]
pub(super) struct Graph {
    parts: Vec<Part>,
    edges: Vec<(Node, Node)>,
    observed: Vec<(Node, Option<Shape>)>,
    work: usize,
}

impl Graph {
    /// Whether there is more than is reasonable to analyse.
    pub(super) fn is_too_large(&self) -> bool {
        self.work > WORK_MAX
    }

    /// Counts a value that was looked at, whether or not it can hold a NaN.
    pub(super) fn work(&mut self) {
        self.work += 1;
    }

    /// A new value with NaNs of its own.
    pub(super) fn node(&mut self, vector: bool, own: Nans, via: Via, after: Option<usize>) -> Node {
        let node = u32::try_from(self.parts.len()).unwrap_or(NONE);
        self.parts.push(Part { own, via, vector, after });
        node
    }

    /// Where a value that is left on top of the stack can be settled, known only later than the value.
    pub(super) fn left_on_top(&mut self, node: Node, after: usize) {
        if let Some(part) = self.parts.get_mut(node as usize) {
            part.after = Some(after);
        }
    }

    /// The bits of one value become another's.
    pub(super) fn flow(&mut self, from: Node, to: Node) {
        self.work();
        if from != NONE && to != NONE {
            self.edges.push((from, to));
        }
    }

    /// The value's bits show in something; or, if a shape is given, would if they were not numbers of that shape.
    pub(super) fn observe(&mut self, node: Node, but: Option<Shape>) {
        self.work();
        if node != NONE {
            self.observed.push((node, but));
        }
    }

    /// After which instructions to settle what they leave on top of the stack.
    pub(super) fn solve(&self) -> BTreeMap<usize, (Kind, Sign)> {
        let nans = self.spread();
        let inputs = Adjacent::new(self.parts.len(), self.edges.iter().map(|(from, to)| (*to, *from)));
        let mut settled = BTreeMap::new();
        let mut seen = vec![false; self.parts.len()];
        let mut wanted: Vec<Node> = Vec::new();
        for (node, but) in &self.observed {
            let tolerated = but.map_or(Nans::NEVER, Nans::of_shape);
            if nans[*node as usize].without(tolerated).has_unsettled() {
                wanted.push(*node);
            }
        }
        while let Some(node) = wanted.pop() {
            let index = node as usize;
            if seen[index] || !nans[index].has_unsettled() {
                continue;
            }
            seen[index] = true;
            let part = &self.parts[index];
            match (part.after, nans[index].settled_as()) {
                (Some(after), Some((shape, sign))) => {
                    settled.insert(after, (Kind::new(shape, part.vector), sign));
                }
                // Determined bits have to be kept, or the value is not at hand: settle what it is made of.
                _ => wanted.extend_from_slice(inputs.of(node)),
            }
        }
        settled
    }

    /// The NaNs that can be in each value.
    fn spread(&self) -> Vec<Nans> {
        let outputs = Adjacent::new(self.parts.len(), self.edges.iter().copied());
        let mut nans: Vec<Nans> = self.parts.iter().map(|part| part.own).collect();
        let mut changed: Vec<Node> = (0..).take(nans.len()).collect();
        while let Some(node) = changed.pop() {
            for output in outputs.of(node) {
                let via = self.parts[*output as usize].via;
                let before = nans[*output as usize];
                let after = before.union(via.pass(nans[node as usize]));
                if after != before {
                    nans[*output as usize] = after;
                    changed.push(*output);
                }
            }
        }
        nans
    }
}

/// For each node, the nodes at the other ends of its edges.
struct Adjacent {
    starts: Vec<u32>,
    nodes: Vec<Node>,
}

impl Adjacent {
    fn new(count: usize, edges: impl Iterator<Item = (Node, Node)> + Clone) -> Self {
        let mut starts = vec![0; count + 2];
        for (at, _) in edges.clone() {
            starts[at as usize + 2] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut nodes = vec![NONE; edges.clone().count()];
        for (at, to) in edges {
            let next = &mut starts[at as usize + 1];
            nodes[*next as usize] = to;
            *next += 1;
        }
        Self { starts, nodes }
    }

    fn of(&self, node: Node) -> &[Node] {
        let node = node as usize;
        &self.nodes[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}
