//! Which lets depend on which: in what order they can be made, and which ones need themselves.

use super::expr::Source;

/// Of each let, its group; a group comes after those it depends on.
pub(super) struct Groups {
    pub(super) of: Vec<usize>,
    /// By group: its lets if they need one another, or itself if it is one that does; else none.
    pub(super) cycles: Vec<Option<Vec<usize>>>,
}

/// The lets that a let mentions.
pub(super) fn mentioned(source: &Source, index: usize) -> impl Iterator<Item = usize> {
    let first = source.arity + 1;
    source.slots[source.lets[index] as usize].iter().filter(move |slot| **slot >= first).map(move |slot| slot - first)
}

/// Tarjan's algorithm, with a stack of its own.
pub(super) fn groups(source: &Source) -> Groups {
    const UNSEEN: usize = usize::MAX;
    let count = source.lets.len();
    let edges: Vec<Vec<usize>> = (0..count).map(|index| mentioned(source, index).collect()).collect();
    let mut groups = Groups { of: vec![UNSEEN; count], cycles: Vec::new() };
    let (mut number, mut low) = (vec![UNSEEN; count], vec![0; count]);
    let mut open = Vec::new();
    let mut next = 0;
    for start in 0..count {
        if number[start] != UNSEEN {
            continue;
        }
        let mut path = vec![(start, 0)];
        while let Some((index, edge)) = path.pop() {
            if edge == 0 {
                number[index] = next;
                low[index] = next;
                next += 1;
                open.push(index);
            }
            if let Some(&other) = edges[index].get(edge) {
                path.push((index, edge + 1));
                if number[other] == UNSEEN {
                    path.push((other, 0));
                } else if groups.of[other] == UNSEEN {
                    low[index] = low[index].min(number[other]);
                }
                continue;
            }
            if low[index] == number[index] {
                let from = open.iter().rposition(|other| *other == index).expect("it was opened");
                let members = open.split_off(from);
                for member in &members {
                    groups.of[*member] = groups.cycles.len();
                }
                let cyclic = members.len() > 1 || edges[index].contains(&index);
                groups.cycles.push(cyclic.then_some(members));
            }
            if let Some((parent, _)) = path.last() {
                low[*parent] = low[*parent].min(low[index]);
            }
        }
    }
    groups
}
