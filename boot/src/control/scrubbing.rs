//! How a running machine's background check stands, as its clients are told.

use seed::cbor::{CborError, Reader, Writer};

/// How a background check stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbing {
    /// How fast it reads, in MiB a second; 0 if there is none.
    pub mib_per_s: u64,
    /// Entries checked in the present pass.
    pub done: u64,
    /// Entries there are; 0 between two passes.
    pub total: u64,
    /// Whole passes since the machine was started.
    pub passes: u64,
    /// When the last one ended, in nanoseconds since 1970.
    pub last_pass: u64,
    /// What was found to be damaged.
    pub findings: Vec<String>,
}

impl Scrubbing {
    pub(super) fn write<'w>(&self, writer: &'w mut Writer) -> &'w mut Writer {
        writer.array(6).uint(self.mib_per_s).uint(self.done).uint(self.total).uint(self.passes).uint(self.last_pass);
        writer.array(self.findings.len());
        self.findings.iter().fold(writer, |writer, finding| writer.text(finding))
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.array_of(6)?;
        Ok(Self {
            mib_per_s: reader.uint()?,
            done: reader.uint()?,
            total: reader.uint()?,
            passes: reader.uint()?,
            last_pass: reader.uint()?,
            findings: (0..reader.array()?).map(|_| Ok(reader.text()?.to_owned())).collect::<Result<_, _>>()?,
        })
    }
}
