//! Reading deterministic CBOR, strictly.

use super::{ARRAY, BYTES, CborError, Fault, TEXT, UINT};

/// Reads one encoding, strictly.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `input`.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// An error at the current offset.
    #[must_use]
    pub fn fault(&self, fault: Fault) -> CborError {
        CborError { at: self.at, fault }
    }

    /// Offset in bytes of the next item.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Starts an array; its number of items. The count is at most the number of bytes left, so a loop over it ends.
    ///
    /// # Errors
    /// If the next item is not an array, or claims more items than there are bytes.
    pub fn array(&mut self) -> Result<usize, CborError> {
        let start = self.at;
        let count = self.head(ARRAY)?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.input.len() - self.at)
            .ok_or(CborError { at: start, fault: Fault::Truncated })
    }

    /// Starts an array of exactly `expected` items.
    ///
    /// # Errors
    /// If the next item is not an array, or one of another length.
    pub fn array_of(&mut self, expected: usize) -> Result<(), CborError> {
        let start = self.at;
        let found = self.head(ARRAY)?;
        if found == expected as u64 {
            return Ok(());
        }
        Err(CborError { at: start, fault: Fault::Count { expected: expected as u64, found } })
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn uint(&mut self) -> Result<u64, CborError> {
        self.head(UINT)
    }

    /// An unsigned integer of at most `max`.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn uint_max(&mut self, max: u64, what: &'static str) -> Result<u64, CborError> {
        let start = self.at;
        let value = self.head(UINT)?;
        if value <= max { Ok(value) } else { Err(CborError { at: start, fault: Fault::Range { what } }) }
    }

    /// The integer 0 or 1.
    ///
    /// # Errors
    /// If the next item is anything else.
    pub fn flag(&mut self) -> Result<bool, CborError> {
        Ok(self.uint_max(1, "a flag")? == 1)
    }

    /// A byte string.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.head(BYTES)?;
        self.take(length)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn bytes_of<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CborError> {
        let start = self.at;
        self.bytes()?.try_into().map_err(|_| CborError { at: start, fault: Fault::Range { what } })
    }

    /// A text string.
    ///
    /// # Errors
    /// If the next item is not one, or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let start = self.at;
        let length = self.head(TEXT)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| CborError { at: start, fault: Fault::NotUtf8 })
    }

    /// Passes over one whole item and returns its encoding.
    ///
    /// # Errors
    /// If it is not canonical or nested more than `depth` arrays deep.
    pub fn item(&mut self, depth: usize) -> Result<&'a [u8], CborError> {
        let start = self.at;
        self.skip(depth)?;
        Ok(&self.input[start..self.at])
    }

    /// Whether all input has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.input.len()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn end(self) -> Result<(), CborError> {
        if self.is_at_end() { Ok(()) } else { Err(self.fault(Fault::Trailing)) }
    }

    fn skip(&mut self, depth: usize) -> Result<(), CborError> {
        match self.peek()? >> 5 {
            UINT => self.uint().map(drop),
            BYTES => self.bytes().map(drop),
            TEXT => self.text().map(drop),
            _ => {
                let start = self.at;
                let count = self.array()?;
                let deeper = depth.checked_sub(1).ok_or(CborError { at: start, fault: Fault::Depth })?;
                (0..count).try_for_each(|_| self.skip(deeper))
            }
        }
    }

    pub(super) fn peek(&self) -> Result<u8, CborError> {
        self.input.get(self.at).copied().ok_or_else(|| self.fault(Fault::Truncated))
    }

    fn head(&mut self, major: u8) -> Result<u64, CborError> {
        let start = self.at;
        let first = self.peek()?;
        if first >> 5 != major {
            let fault = Fault::Kind { expected: kind(major), found: kind(first >> 5) };
            return Err(CborError { at: start, fault });
        }
        self.at += 1;
        let short = u64::from(first & 31);
        let (value, least) = match short {
            0..24 => return Ok(short),
            24 => (self.big_endian(1)?, 24),
            25 => (self.big_endian(2)?, 0x100),
            26 => (self.big_endian(4)?, 0x1_0000),
            27 => (self.big_endian(8)?, 0x1_0000_0000),
            _ => return Err(CborError { at: start, fault: Fault::Reserved }),
        };
        if value >= least { Ok(value) } else { Err(CborError { at: start, fault: Fault::NotShortest }) }
    }

    fn big_endian(&mut self, width: u64) -> Result<u64, CborError> {
        Ok(self.take(width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        match end.and_then(|end| self.input.get(self.at..end)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(self.fault(Fault::Truncated)),
        }
    }
}

fn kind(major: u8) -> &'static str {
    match major {
        UINT => "an unsigned integer",
        1 => "a negative integer (not allowed)",
        BYTES => "a byte string",
        TEXT => "a text string",
        ARRAY => "an array",
        5 => "a map (not allowed)",
        6 => "a tag (not allowed)",
        _ => "a float or simple value (not allowed)",
    }
}
