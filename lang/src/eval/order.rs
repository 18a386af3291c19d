//! Equality and order of normal values in a heap: as [`crate::value`] has them, whatever form a value is held in.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::heap::Heap;
use super::tree;
use super::word::{Kind, is_imm, len};

/// Words of numbers and bytes that are as much work as a part.
const WORDS_PER_PART: u64 = 8;

/// From so many comparisons on, pairs that were met are remembered: values that share parts would take forever otherwise.
const PATIENCE: usize = 4096;

fn rank(kind: Option<u8>, count: usize) -> u8 {
    match kind {
        None | Some(Kind::BIG) => 0,
        Some(Kind::PIN) => 1,
        Some(Kind::LAW | Kind::BAR | Kind::SET) => 2,
        Some(Kind::ROW) if count == 0 => 2,
        Some(_) => 3,
    }
}

/// The order of numbers and bytes of one length, the last words first.
fn words(heap: &mut Heap, a: u64, b: u64, first: usize) -> Ordering {
    let (x, y) = (&heap.fields(a)[first..], &heap.fields(b)[first..]);
    let same = x.iter().rev().zip(y.iter().rev()).take_while(|(x, y)| x == y).count();
    let order = if same == x.len() { Ordering::Equal } else { x[x.len() - 1 - same].cmp(&y[x.len() - 1 - same]) };
    heap.compared += same as u64 / WORDS_PER_PART;
    order
}

fn nats(heap: &mut Heap, a: u64, b: u64) -> Ordering {
    match (is_imm(a), is_imm(b)) {
        (true, true) => a.cmp(&b),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => {
            let (x, y) = (len(heap.head(a)), len(heap.head(b)));
            x.cmp(&y).then_with(|| words(heap, a, b, 0))
        }
    }
}

/// The order of two normal values. What was looked at is noted in the heap.
#[inline]
pub(super) fn compare(heap: &mut Heap, a: u64, b: u64) -> Ordering {
    if is_imm(a) && is_imm(b) {
        return a.cmp(&b);
    }
    let (order, parts) = compare_parts(heap, a, b, false);
    heap.compared += parts as u64;
    order
}

/// Whether two normal values are the same. What was looked at is noted in the heap.
pub(super) fn equal(heap: &mut Heap, a: u64, b: u64) -> bool {
    let (order, parts) = compare_parts(heap, a, b, true);
    heap.compared += parts as u64;
    order.is_eq()
}

/// The order, and how many parts were looked at. Returns at the first difference: whatever has been met was equal. Only whether there is one matters if `same`.
fn compare_parts(heap: &mut Heap, a: u64, b: u64, same: bool) -> (Ordering, usize) {
    let mut left = vec![(a, b)];
    let mut met = HashSet::new();
    let mut count = 0;
    while let Some((a, b)) = left.pop() {
        let (a, b) = (heap.resolve(a), heap.resolve(b));
        if a == b {
            continue;
        }
        count += 1;
        let (ka, kb) = (heap.kind_of(a), heap.kind_of(b));
        if count > PATIENCE && ka.is_some() && kb.is_some() && !met.insert((a, b)) {
            continue;
        }
        let sizes = |kind: Option<u8>, value| if kind == Some(Kind::ROW) { len(heap.head(value)) } else { 0 };
        let (na, nb) = (sizes(ka, a), sizes(kb, b));
        let (ra, rb) = (rank(ka, na), rank(kb, nb));
        if ra != rb {
            return (ra.cmp(&rb), count);
        }
        let here = match (ka, kb) {
            _ if ra == 0 => nats(heap, a, b),
            _ if ra == 1 => {
                let (ha, hb) = (heap.pin_hash_if_known(a), heap.pin_hash_if_known(b));
                match (ha, hb) {
                    (Some(ha), Some(hb)) if ha == hb => Ordering::Equal,
                    (Some(ha), Some(hb)) if same => ha.cmp(&hb),
                    _ => {
                        left.push((heap.field(a, 0), heap.field(b, 0)));
                        Ordering::Equal
                    }
                }
            }
            (Some(Kind::BAR), Some(Kind::BAR)) => {
                heap.field(a, 0).cmp(&heap.field(b, 0)).then_with(|| words(heap, a, b, 1))
            }
            (Some(Kind::SET), Some(Kind::SET)) => {
                let (a, b) = (tree::keys(heap, heap.field(a, 0)), tree::keys(heap, heap.field(b, 0)));
                // The last ones are to be compared first: rows are applications to their last element first.
                left.extend(a.iter().copied().zip(b.iter().copied()));
                if a.len() == b.len() { Ordering::Equal } else { return (a.len().cmp(&b.len()), count) }
            }
            (Some(Kind::ROW), Some(Kind::ROW)) => {
                if na != nb {
                    return (na.cmp(&nb), count);
                }
                left.extend(heap.fields(a).iter().copied().zip(heap.fields(b).iter().copied()));
                Ordering::Equal
            }
            (Some(Kind::TAB), Some(Kind::TAB)) => {
                let (a, b) = (tree::nodes(heap, heap.field(a, 0)), tree::nodes(heap, heap.field(b, 0)));
                if a.len() != b.len() {
                    return (a.len().cmp(&b.len()), count);
                }
                for field in [2, 1] {
                    left.extend(a.iter().zip(&b).map(|(a, b)| (heap.field(*a, field), heap.field(*b, field))));
                }
                Ordering::Equal
            }
            _ if ra == 2 => {
                let (a, b) = (heap.law_parts(a), heap.law_parts(b));
                let ((name, arity, body), (name_b, arity_b, body_b)) = (a.expect("a law"), b.expect("a law"));
                left.push((body, body_b));
                nats(heap, name, name_b).then_with(|| nats(heap, arity, arity_b))
            }
            _ => {
                let (a, b) = (heap.app_parts(a).expect("an application"), heap.app_parts(b).expect("an application"));
                if a.len() != b.len() {
                    return (a.len().cmp(&b.len()), count);
                }
                left.extend(a.into_iter().zip(b).rev());
                Ordering::Equal
            }
        };
        if here.is_ne() {
            return (here, count);
        }
    }
    (Ordering::Equal, count)
}
