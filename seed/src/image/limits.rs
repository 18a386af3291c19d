//! Limits: what a machine may use. Declared in the seed, recorded in the image, the same on every host.

use crate::Nanos;
use crate::cbor::{CborError, Fault, Reader, Writer};

/// What a machine may use. The same on every host, recorded in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one step, in milliseconds.
    pub step_cpu_ms: u64,
    /// All memories together, in bytes.
    pub memory_bytes: u64,
    /// All tables together, in elements.
    pub table_elements: u64,
    /// Native stack, in bytes.
    pub stack_bytes: u64,
    /// One input, encoded, in bytes.
    pub input_bytes: u64,
    /// One output, encoded, in bytes.
    pub output_bytes: u64,
    /// Open requests, owed replies, undelivered effects: each, in number.
    pub requests: u64,
    /// Outcomes remembered for senders that repeat themselves, in number.
    pub outcomes: u64,
}

/// The name of a limit with its default and the values it may have.
#[derive(Debug, Clone, Copy)]
pub struct LimitRange {
    /// As on the command line and in docs/abi.md.
    pub name: &'static str,
    /// If nothing is declared.
    pub default: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
}

impl Limits {
    /// Every limit, in the order of their encoding.
    pub const RANGES: [LimitRange; 8] = [
        range("step_cpu_ms", 10_000, 1, 86_400_000),
        range("memory_bytes", 1 << 30, 1 << 16, 1 << 34),
        range("table_elements", 1 << 20, 0, 1 << 24),
        range("stack_bytes", 1 << 20, 1 << 16, 1 << 26),
        range("input_bytes", 1 << 24, 1 << 10, 1 << 30),
        range("output_bytes", 1 << 24, 1 << 10, 1 << 30),
        range("requests", 1 << 16, 1, 1 << 20),
        range("outcomes", 1 << 12, 0, 1 << 20),
    ];

    /// All of them, in the order of [`Self::RANGES`].
    #[must_use]
    pub const fn values(&self) -> [u64; 8] {
        [
            self.step_cpu_ms,
            self.memory_bytes,
            self.table_elements,
            self.stack_bytes,
            self.input_bytes,
            self.output_bytes,
            self.requests,
            self.outcomes,
        ]
    }

    /// The limits with these values; the name of the first one out of range otherwise.
    ///
    /// # Errors
    /// If one is out of range.
    pub fn from_values(values: [u64; 8]) -> Result<Self, &'static str> {
        for (range, value) in Self::RANGES.iter().zip(values) {
            if !(range.min..=range.max).contains(&value) {
                return Err(range.name);
            }
        }
        let [step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes] =
            values;
        Ok(Self {
            step_cpu_ms,
            memory_bytes,
            table_elements,
            stack_bytes,
            input_bytes,
            output_bytes,
            requests,
            outcomes,
        })
    }

    /// CPU time of one step.
    #[must_use]
    pub const fn step_cpu(&self) -> Nanos {
        Nanos::from_millis(self.step_cpu_ms)
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.array(8);
        for value in self.values() {
            writer.uint(value);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.array_of(8)?;
        let at = reader.position();
        let mut values = [0; 8];
        for value in &mut values {
            *value = reader.uint()?;
        }
        Self::from_values(values).map_err(|what| CborError { at, fault: Fault::Range { what } })
    }
}

impl Default for Limits {
    fn default() -> Self {
        let [step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes] =
            Self::RANGES.map(|range| range.default);
        Self { step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes }
    }
}

const fn range(name: &'static str, default: u64, min: u64, max: u64) -> LimitRange {
    LimitRange { name, default, min, max }
}
