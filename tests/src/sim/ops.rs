//! The operations of the guest in `../../guests/walker.wat`: two bytes each, a letter and an argument below 128, so that a text can hold them.
//!
//! | letters | what |
//! |---|---|
//! | `w W y z` | writes to memory: a cell anywhere, one of few values on one of few pages, the second memory, a page of zeros |
//! | `g t T c f F m d i I u n` | grow memory; set, grow, call the table; a function in a global; segments used and dropped; floats; time |
//! | `e E` | an effect; one for a port that is not granted |
//! | `q Q x X b` | ask; ask a port that is not granted; cancel; cancel and ask anew under the same number; ask under an open number |
//! | `r p J` | answer, partly answer, refuse the message at hand |
//! | `l L j k` | the same for the one put off first; answer what is not owed |
//! | `a A` | be called again; be called again and trap then |
//! | `v` | trace |
//! | `Z G D H S M O o` | trap; grow and trap; drop segments and trap; never end; overflow the stack; malformed, too long, misplaced output |

use super::random::Random;

/// Operations of one input, at most: their outputs have to fit a one-byte list header.
pub const OPERATIONS_MAX: u64 = 9;

const WEIGHTS: &[(u64, u8)] = &[
    (12, b'w'),
    (8, b'W'),
    (5, b'y'),
    (4, b'z'),
    (3, b'g'),
    (4, b't'),
    (2, b'T'),
    (4, b'c'),
    (3, b'f'),
    (3, b'F'),
    (2, b'm'),
    (1, b'd'),
    (2, b'i'),
    (1, b'I'),
    (4, b'u'),
    (4, b'n'),
    (12, b'e'),
    (2, b'E'),
    (14, b'q'),
    (3, b'Q'),
    (3, b'x'),
    (3, b'X'),
    (1, b'b'),
    (20, b'r'),
    (5, b'p'),
    (3, b'J'),
    (12, b'l'),
    (3, b'L'),
    (3, b'j'),
    (1, b'k'),
    (4, b'a'),
    (2, b'v'),
    (2, b'Z'),
    (2, b'G'),
    (2, b'D'),
    (1, b'S'),
    (1, b'M'),
    (1, b'O'),
    (1, b'o'),
];

/// Some operations. One in many lives has a fuse lit.
#[must_use]
pub fn operations(random: &mut Random) -> Vec<u8> {
    let count = random.below(OPERATIONS_MAX + 1);
    let mut bytes = Vec::new();
    for _ in 0..count {
        let letter = match random.below(3000) {
            0 | 1 => b'A',
            2 => b'H',
            _ => random.weighted(WEIGHTS),
        };
        // Most payloads are small; some do not fit into an entry of a ledger.
        let n = if random.one_in(12) { random.below(128) } else { random.below(8) };
        bytes.extend([letter, u8::try_from(n).unwrap_or(0)]);
    }
    bytes
}

/// Operations that no step ends badly with, for inputs whose abort halts the machine.
#[must_use]
pub fn tame(random: &mut Random) -> Vec<u8> {
    let letters = b"wWyzgtcfFue";
    (0..random.below(4)).flat_map(|_| [random.pick(letters), u8::try_from(random.below(8)).unwrap_or(0)]).collect()
}
