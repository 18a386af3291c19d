//! What is asked of a port of files, and what it answers, as payloads: deterministic CBOR of arrays, numbers and byte strings.

use seed::Id;
use seed::cbor::{CborError, Fault, Reader, Writer};

/// What one read may ask for.
pub const READ_BYTES_MAX: u64 = 1 << 20;
/// The longest path.
pub const PATH_BYTES_MAX: usize = 4096;
/// The longest name in one.
pub const NAME_BYTES_MAX: usize = 255;
/// What names of files begin with that are not there yet: those that are being written. A machine neither sees nor makes any.
pub const UNFINISHED: &str = ".abide-";

/// A path inside of the granted folder: names with `/` between them, none of them empty, `.` or `..`. The empty path is the folder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside<'a>(&'a str);

/// What is asked of a port of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// `[0, path, after]`: what a folder has, by name.
    List {
        /// The folder.
        path: Inside<'a>,
        /// Only what comes after this name.
        after: &'a str,
    },
    /// `[1, path]`: what a file holds, by its id, and how much that is.
    Import {
        /// The file.
        path: Inside<'a>,
    },
    /// `[2, path, id, from, most]`: some of what it holds.
    Read {
        /// The file.
        path: Inside<'a>,
        /// What it is to hold, as a whole.
        id: Id,
        /// Where to begin.
        from: u64,
        /// So many bytes at most.
        most: usize,
    },
    /// `[3, path, bytes]`: what a file is to hold from now on.
    Write {
        /// The file.
        path: Inside<'a>,
        /// All of it.
        bytes: &'a [u8],
    },
    /// `[4, path]`: a folder is to be there.
    MakeFolder {
        /// Where.
        path: Inside<'a>,
    },
    /// `[5, path]`: a file, or an empty folder, is to be gone.
    Remove {
        /// Which.
        path: Inside<'a>,
    },
}

/// What a folder has under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Which kind of thing it is.
    pub kind: Kind,
    /// The bytes of a file.
    pub size: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub changed: u64,
}

/// A kind of thing in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0
    File,
    /// 1
    Folder,
    /// 2: a link, a pipe, a device.
    Other,
}

impl<'a> Inside<'a> {
    /// Takes a path that leads nowhere else.
    #[must_use]
    pub fn parse(path: &'a [u8]) -> Option<Self> {
        let path = std::str::from_utf8(path).ok().filter(|path| path.len() <= PATH_BYTES_MAX)?;
        (path.is_empty() || path.split('/').all(is_name)).then_some(Self(path))
    }

    /// The path as it was given.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Its names; none of the folder itself.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        self.0.split('/').filter(|name| !name.is_empty())
    }
}

/// Whether it can be the name of something in a folder.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    is_plain && name.len() <= NAME_BYTES_MAX && !name.starts_with(UNFINISHED)
}

impl<'a> Ask<'a> {
    /// Reads one, strictly.
    ///
    /// # Errors
    /// If the payload is none.
    pub fn decode(payload: &'a [u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(payload);
        let items = reader.array()?;
        let ask = match (reader.uint_max(5, "what is asked")?, items) {
            (0, 3) => Ask::List { path: path(&mut reader)?, after: text(&mut reader)? },
            (1, 2) => Ask::Import { path: path_below(&mut reader)? },
            (2, 5) => {
                let (path, id, from) = (path_below(&mut reader)?, Id::read(&mut reader)?, reader.uint()?);
                let most = reader.uint_max(READ_BYTES_MAX, "the number of bytes")?;
                if most == 0 {
                    return Err(reader.fault(Fault::Rule("a read is of 1 byte or more")));
                }
                Ask::Read { path, id, from, most: usize::try_from(most).unwrap_or(usize::MAX) }
            }
            (3, 3) => Ask::Write { path: new_path(&mut reader)?, bytes: reader.bytes()? },
            (4, 2) => Ask::MakeFolder { path: new_path(&mut reader)? },
            (5, 2) => Ask::Remove { path: path_below(&mut reader)? },
            _ => return Err(reader.fault(Fault::Rule("wrong number of items"))),
        };
        reader.end()?;
        Ok(ask)
    }

    /// The payload that asks it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let mut begin = |items, what, path: &Inside<'_>| {
            writer.array(items).uint(what).bytes(path.0.as_bytes());
        };
        match self {
            Ask::List { path, after } => {
                begin(3, 0, path);
                writer.bytes(after.as_bytes());
            }
            Ask::Import { path } => begin(2, 1, path),
            Ask::Read { path, id, from, most } => {
                begin(5, 2, path);
                id.write(&mut writer);
                writer.uint(*from).uint(*most as u64);
            }
            Ask::Write { path, bytes } => {
                begin(3, 3, path);
                writer.bytes(bytes);
            }
            Ask::MakeFolder { path } => begin(2, 4, path),
            Ask::Remove { path } => begin(2, 5, path),
        }
        writer.finish()
    }

    /// Whether it changes something.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(self, Ask::Write { .. } | Ask::MakeFolder { .. } | Ask::Remove { .. })
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, CborError> {
    let bytes = reader.bytes()?;
    std::str::from_utf8(bytes).map_err(|_| reader.fault(Fault::Rule("a name is UTF-8")))
}

fn path<'a>(reader: &mut Reader<'a>) -> Result<Inside<'a>, CborError> {
    let bytes = reader.bytes()?;
    let rule = "a path is names inside of the folder, with / between them";
    Inside::parse(bytes).ok_or_else(|| reader.fault(Fault::Rule(rule)))
}

fn path_below<'a>(reader: &mut Reader<'a>) -> Result<Inside<'a>, CborError> {
    let path = path(reader)?;
    if path.0.is_empty() { Err(reader.fault(Fault::Rule("a path has a name"))) } else { Ok(path) }
}

/// Of something that is to be made: whoever lists it is not to have their terminal driven by it.
fn new_path<'a>(reader: &mut Reader<'a>) -> Result<Inside<'a>, CborError> {
    let path = path_below(reader)?;
    if path.0.contains(char::is_control) {
        return Err(reader.fault(Fault::Rule("a new name has no control characters")));
    }
    Ok(path)
}

/// What a list is answered with: some entries, and whether there are more.
#[must_use]
pub fn encode_list(entries: &[Entry], has_more: bool) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(2).array(entries.len());
    for Entry { name, kind, size, changed } in entries {
        let kind = match kind {
            Kind::File => 0,
            Kind::Folder => 1,
            Kind::Other => 2,
        };
        writer.array(4).bytes(name.as_bytes()).uint(kind).uint(*size).uint(*changed);
    }
    writer.flag(has_more);
    writer.finish()
}

/// What an import is answered with.
#[must_use]
pub fn encode_import(id: &Id, size: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(2);
    id.write(&mut writer);
    writer.uint(size);
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_path() {
        for some in ["", "a", "a/b.c", "...", ".hidden", "größer/€", "a b/\n"] {
            let path = Inside::parse(some.as_bytes()).unwrap_or_else(|| panic!("{some:?}"));
            assert_eq!(path.names().collect::<Vec<_>>().join("/"), some);
        }
        let long = ["n".repeat(256), vec!["nn"; 1366].join("/")];
        let none =
            ["/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", "a\0", ".abide-1", "a/.abide-"];
        for none in none.into_iter().chain(long.iter().map(String::as_str)) {
            assert_eq!(Inside::parse(none.as_bytes()), None, "{none:?}");
        }
        assert_eq!(Inside::parse(b"\xff"), None);
    }

    #[test]
    fn what_is_no_request_is_told() {
        let why = |payload: &[u8]| Ask::decode(payload).unwrap_err().fault.to_string();
        assert_eq!(why(&[0x81, 0x06]), "what is asked is out of range");
        assert_eq!(why(&[0x82, 0x00, 0x40]), "wrong number of items");
        assert_eq!(why(&[0x82, 0x01, 0x40]), "a path has a name");
        assert_eq!(why(b"\x82\x01\x42.."), "a path is names inside of the folder, with / between them");
        assert_eq!(why(b"\x82\x04\x42a\n"), "a new name has no control characters");
        assert_eq!(why(b"\x83\x00\x40\x41\xff"), "a name is UTF-8");
        assert_eq!(why(b"\x85\x02\x41a\x41\x00"), "an id is out of range");
        let path = Inside::parse(b"a").unwrap();
        let read = |most| Ask::Read { path, id: Id::of(seed::Domain::Object, b""), from: 0, most }.encode();
        assert_eq!(why(&read(0)), "a read is of 1 byte or more");
        assert_eq!(why(&read((1 << 20) + 1)), "the number of bytes is out of range");
    }
}
