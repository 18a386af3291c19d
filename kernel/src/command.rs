//! What the owner of a machine says to its kernel: payloads at port 0 that begin with byte 0.

use seed::cbor::{CborError, Fault, Reader, Writer};

/// A command: byte 0, then an array of its name and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `["eval", text, width, depth]`: forms are run in the machine.
    Eval {
        /// The forms.
        text: String,
        /// How wide what is printed may be.
        width: usize,
        /// How deep values are printed.
        depth: usize,
    },
    /// `["load", [[name, text], ...]]`: another program in place of this one.
    Load {
        /// The program's file and those that it imports.
        files: Vec<(String, String)>,
    },
    /// `["names"]`: what can be named.
    Names,
    /// `["source", name]`: what a name means.
    Source {
        /// The name.
        name: String,
    },
    /// `["show", depth]`: the whole state as a text.
    Show {
        /// How deep self is shown; 0 for all of it.
        depth: usize,
    },
    /// `["self", width, depth]`: self in brief.
    State {
        /// How wide.
        width: usize,
        /// How deep.
        depth: usize,
    },
    /// `["jobs"]`: what is under way.
    Jobs,
}

/// What the first byte of a command is.
pub(crate) const MARK: u8 = 0;

const WIDTH_MAX: u64 = 1000;
const DEPTH_MAX: u64 = 1000;

impl Command {
    /// The payload that says it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Eval { text, width, depth } => {
                writer.array(4).text("eval").text(text).uint(*width as u64).uint(*depth as u64);
            }
            Self::Load { files } => {
                writer.array(2).text("load");
                write_files(files, &mut writer);
            }
            Self::Names => drop(writer.array(1).text("names")),
            Self::Source { name } => drop(writer.array(2).text("source").text(name)),
            Self::Show { depth } => drop(writer.array(2).text("show").uint(*depth as u64)),
            Self::State { width, depth } => {
                writer.array(3).text("self").uint(*width as u64).uint(*depth as u64);
            }
            Self::Jobs => drop(writer.array(1).text("jobs")),
        }
        [&[MARK], writer.finish().as_slice()].concat()
    }

    /// Reads what follows the mark.
    ///
    /// # Errors
    /// If it is no command.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        let count = reader.array()?;
        let command = match (reader.text()?, count) {
            ("eval", 4) => {
                Self::Eval { text: reader.text()?.to_owned(), width: width(&mut reader)?, depth: depth(&mut reader)? }
            }
            ("load", 2) => Self::Load { files: read_files(&mut reader)? },
            ("names", 1) => Self::Names,
            ("source", 2) => Self::Source { name: reader.text()?.to_owned() },
            ("show", 2) => Self::Show { depth: depth(&mut reader)? },
            ("self", 3) => Self::State { width: width(&mut reader)?, depth: depth(&mut reader)? },
            ("jobs", 1) => Self::Jobs,
            _ => return Err(reader.fault(Fault::Rule("there is no such command"))),
        };
        reader.end()?;
        Ok(command)
    }
}

fn width(reader: &mut Reader<'_>) -> Result<usize, CborError> {
    Ok(usize::try_from(reader.uint_max(WIDTH_MAX, "a width")?).unwrap_or_default())
}

fn depth(reader: &mut Reader<'_>) -> Result<usize, CborError> {
    Ok(usize::try_from(reader.uint_max(DEPTH_MAX, "a depth")?).unwrap_or_default())
}

/// Files with their names.
pub(crate) fn read_files(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, CborError> {
    let count = reader.array()?;
    let mut files = Vec::new();
    for _ in 0..count {
        reader.array_of(2)?;
        files.push((reader.text()?.to_owned(), reader.text()?.to_owned()));
    }
    if files.is_empty() {
        return Err(reader.fault(Fault::Rule("there is no file")));
    }
    Ok(files)
}

pub(crate) fn write_files(files: &[(String, String)], writer: &mut Writer) {
    writer.array(files.len());
    for (name, text) in files {
        writer.array(2).text(name).text(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_back_and_nothing_else_does() {
        let commands = [
            Command::Eval { text: "(add 1 2)".into(), width: 80, depth: 9 },
            Command::Load { files: vec![("a".into(), "b".into()), ("c".into(), String::new())] },
            Command::Names,
            Command::Source { name: "n".into() },
            Command::Show { depth: 0 },
            Command::State { width: 1, depth: 2 },
            Command::Jobs,
        ];
        for command in commands {
            let payload = command.encode();
            assert_eq!(payload[0], MARK);
            assert_eq!(Command::decode(&payload[1..]), Ok(command));
            for length in 1..payload.len() {
                assert!(Command::decode(&payload[1..length]).is_err());
            }
        }
        let other = |write: &dyn Fn(&mut Writer)| {
            let mut writer = Writer::new();
            write(&mut writer);
            Command::decode(&writer.finish()).unwrap_err().to_string()
        };
        assert!(
            other(&|writer| {
                writer.array(1).text("nonsense");
            })
            .contains("no such command")
        );
        assert!(
            other(&|writer| {
                writer.array(2).text("jobs").uint(1);
            })
            .contains("no such command")
        );
        assert!(
            other(&|writer| {
                writer.array(2).text("load").array(0);
            })
            .contains("there is no file")
        );
        assert!(
            other(&|writer| {
                writer.array(3).text("self").uint(9999).uint(1);
            })
            .contains("a width")
        );
    }
}
