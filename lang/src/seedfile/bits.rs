//! Bits in bytes, the least significant first.

/// Takes bits from bytes.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// A number of so many bits, 63 at the most.
    pub(super) fn number(&mut self, bits: u32) -> Option<u64> {
        (0..bits).try_fold(0, |number, place| Some(number | u64::from(self.bit()?) << place))
    }

    /// Whether nothing but zeros is left, and not a whole word of them.
    pub(super) fn is_at_padding(&self, bytes_before: usize) -> bool {
        let used = self.at.div_ceil(8);
        let first = self.bytes.get(self.at / 8).filter(|_| !self.at.is_multiple_of(8));
        (bytes_before + used).next_multiple_of(8) == bytes_before + self.bytes.len()
            && first.is_none_or(|byte| byte >> (self.at % 8) == 0)
            && self.bytes[used..].iter().all(|byte| *byte == 0)
    }
}

/// Appends bits to bytes.
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    free: u32,
}

impl BitWriter {
    /// After these bytes.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    pub(super) fn bit(&mut self, bit: bool) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (8 - self.free);
        }
        self.free -= 1;
    }

    pub(super) fn number(&mut self, number: u64, bits: u32) {
        (0..bits).for_each(|place| self.bit(number >> place & 1 == 1));
    }

    /// The bytes, filled up to a multiple of 8.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.bytes
    }
}

/// How many bits a place in a table of so many entries takes.
pub(super) fn place_bits(entries: usize) -> u32 {
    entries.saturating_sub(1).checked_ilog2().map_or(0, |log| log + 1)
}
