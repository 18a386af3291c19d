//! From bytes to a table of numbers and cells. No value is made yet, and memory is in proportion to the bytes.

use std::cmp::Reverse;

use super::ReadError;
use super::bits::{BitReader, place_bits};
use crate::nat::Nat;
use crate::value::Value;

/// An entry: one of the leaves, or after them one of the cells.
pub(super) type Place = u32;

/// Cells refer to leaves and to cells before them; the last entry is the value.
pub(super) struct Table {
    pub(super) leaves: Vec<Value>,
    pub(super) cells: Vec<(Place, Place)>,
    /// The cell or leaf that is the value.
    pub(super) top: Place,
}

/// Where numbers stand: in the order of this.
pub(super) type Rank = (Reverse<usize>, Reverse<u64>, Vec<u64>);

pub(super) fn rank(nat: &Nat) -> Rank {
    let mut words = nat.to_words();
    let most = words.pop().unwrap_or(0);
    words.reverse();
    (Reverse(words.len()), Reverse(most), words)
}

struct Header {
    holes: u64,
    large: usize,
    words: usize,
    bytes: usize,
    fragments: usize,
}

impl Table {
    pub(super) fn read(bytes: &[u8], holes: &[Value]) -> Result<Self, ReadError> {
        let mut rest = bytes;
        let header = Header::read(&mut rest)?;
        if header.holes != holes.len() as u64 {
            return Err(ReadError::Holes { holes: header.holes, given: holes.len() });
        }
        let mut leaves = holes.to_vec();
        read_numbers(&mut rest, &header, &mut leaves)?;
        let mut reader = BitReader::new(rest);
        let mut table = Self { leaves, cells: Vec::new(), top: 0 };
        table.read_fragments(&mut reader, header.fragments)?;
        if !reader.is_at_padding(bytes.len() - rest.len()) {
            let is_long = rest.len() > 8 && rest.iter().rev().take(8).all(|byte| *byte == 0);
            return Err(if is_long { ReadError::Trailing } else { ReadError::Padding });
        }
        Ok(table)
    }

    fn read_fragments(&mut self, reader: &mut BitReader<'_>, count: usize) -> Result<(), ReadError> {
        let leaf_count = self.leaves.len();
        let mut fragments: Vec<Place> = Vec::new();
        for fragment in 0..count {
            let bits = place_bits(leaf_count + fragment);
            let mut leaf = |reader: &mut BitReader<'_>| {
                let place = reader.number(bits).ok_or(ReadError::Truncated("fragments"))?;
                let place = usize::try_from(place).map_err(|_| ReadError::TooMany)?;
                match place.checked_sub(leaf_count) {
                    None => Place::try_from(place).map_err(|_| ReadError::TooMany),
                    Some(index) => fragments.get(index).copied().ok_or(ReadError::Reference { fragment }),
                }
            };
            let done = self.read_cell(reader, &mut leaf)?;
            fragments.push(done);
        }
        self.top = match fragments.last() {
            Some(last) => *last,
            None => {
                Place::try_from(leaf_count.checked_sub(1).ok_or(ReadError::Empty)?).map_err(|_| ReadError::TooMany)?
            }
        };
        Ok(())
    }

    /// The cell that is a fragment, and those in it.
    fn read_cell(
        &mut self,
        reader: &mut BitReader<'_>,
        leaf: &mut impl FnMut(&mut BitReader<'_>) -> Result<Place, ReadError>,
    ) -> Result<Place, ReadError> {
        // Cells that are begun: their heads, if those are read already.
        let mut begun: Vec<Option<Place>> = vec![None];
        loop {
            if reader.bit().ok_or(ReadError::Truncated("fragments"))? {
                begun.push(None);
                continue;
            }
            let mut done = leaf(reader)?;
            loop {
                match begun.pop() {
                    None => return Ok(done),
                    Some(None) => {
                        begun.push(Some(done));
                        break;
                    }
                    Some(Some(head)) => {
                        self.cells.push((head, done));
                        let place = self.leaves.len() + self.cells.len() - 1;
                        done = Place::try_from(place).map_err(|_| ReadError::TooMany)?;
                    }
                }
            }
        }
    }
}

impl Header {
    fn read(rest: &mut &[u8]) -> Result<Self, ReadError> {
        let mut next = || word(rest, "header");
        let holes = next()?;
        // A count that does not fit in memory counts more than the file can hold.
        let mut count = |part| usize::try_from(next()?).map_err(|_| ReadError::Truncated(part));
        Ok(Self {
            holes,
            large: count("numbers")?,
            words: count("numbers")?,
            bytes: count("numbers")?,
            fragments: count("fragments")?,
        })
    }
}

fn read_numbers(rest: &mut &[u8], header: &Header, leaves: &mut Vec<Value>) -> Result<(), ReadError> {
    let mut widths = take(rest, header.large.checked_mul(8), "widths")?;
    let mut last: Option<Rank> = None;
    let mut index = 0;
    let mut push = |nat: Nat, is_right_kind: bool, leaves: &mut Vec<Value>| {
        let rank = rank(&nat);
        let ascends = last.as_ref().is_none_or(|last| *last < rank);
        if !is_right_kind || !ascends {
            return Err(ReadError::Number { index });
        }
        last = Some(rank);
        index += 1;
        leaves.push(nat.into());
        Ok(())
    };
    while !widths.is_empty() {
        let width = usize::try_from(word(&mut widths, "widths")?).ok().and_then(|width| width.checked_mul(8));
        let bytes = take(rest, width, "numbers")?;
        // The most significant word is not zero, and not the only one.
        let is_right_kind = bytes.len() > 8 && bytes[bytes.len() - 8..] != [0; 8];
        push(Nat::from_bytes_le(bytes), is_right_kind, leaves)?;
    }
    let mut words = take(rest, header.words.checked_mul(8), "numbers")?;
    while !words.is_empty() {
        let word = word(&mut words, "numbers")?;
        push(Nat::word(word), word > 0xff, leaves)?;
    }
    for byte in take(rest, Some(header.bytes), "numbers")? {
        push(Nat::word(u64::from(*byte)), true, leaves)?;
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], count: Option<usize>, part: &'static str) -> Result<&'a [u8], ReadError> {
    let split = count.and_then(|count| rest.split_at_checked(count));
    let (taken, left) = split.ok_or(ReadError::Truncated(part))?;
    *rest = left;
    Ok(taken)
}

pub(super) fn word(rest: &mut &[u8], part: &'static str) -> Result<u64, ReadError> {
    let (word, left) = rest.split_first_chunk().ok_or(ReadError::Truncated(part))?;
    *rest = left;
    Ok(u64::from_le_bytes(*word))
}
