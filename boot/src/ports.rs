//! The ports of this host, one file each.

pub mod clock;
pub mod console;
pub mod files;
#[cfg(test)]
mod golden;
mod headers;
pub mod http;
pub mod http_client;
mod jobs;
pub mod log;
pub mod random;
pub mod sockets;
pub mod tcp;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use seed::PortId;
use seed::image::{Grant, Limits};
use tokio::runtime::Handle as Runtime;
use vm::port::{Line, Port};

use self::console::Console;
use self::http_client::Caller;
use self::sockets::Sockets;
use crate::clocks::MachineClock;
use crate::driver::{Handle, RunError};

/// The kinds of ports that this version has, a line each.
const KINDS: &[Kind] = &[
    Kind { forms: &["console"], parse: console::parse },
    Kind { forms: &["clock"], parse: clock::parse },
    Kind { forms: &["random"], parse: random::parse },
    Kind { forms: &["http:PORT", "http:ADDRESS:PORT"], parse: http::parse },
    Kind { forms: &["http-client:ORIGIN", "http-client:ORIGIN/PATH", "http-client:*"], parse: http_client::parse },
    Kind { forms: &["tcp-listen:PORT", "tcp-listen:ADDRESS:PORT", "tcp-connect:HOST:PORT"], parse: tcp::parse },
    Kind { forms: &["files-read:FOLDER", "files-write:FOLDER"], parse: files::parse },
    Kind { forms: &["log:FILE"], parse: log::parse },
];

/// Ports that every machine is given unless its seed forbids it, in the order of their numbers from 1.
pub const GIVEN: [&str; 3] = ["console", "clock", "random"];
/// The most grants that a machine may have.
pub const GRANTS_MAX: usize = 256;
/// The longest name of a grant, in bytes: the longest path of a file, and something before it.
pub const NAME_BYTES_MAX: usize = 4096 + 64;

/// A kind of port.
struct Kind {
    /// The forms that names of such grants have, for people.
    forms: &'static [&'static str],
    /// Understands such a name, given in some folder.
    parse: fn(&str, &Path) -> Option<Known>,
}

/// The name of a grant, understood.
pub struct Known {
    name: String,
    open: Box<Open>,
}

/// Opens a port under its number; none where it is a server, and the machine does not listen.
type Open = dyn FnOnce(PortId, &Host) -> io::Result<Option<Box<dyn Port>>>;

impl Known {
    /// A grant of this name, which means the same wherever it is read: what was relative to a folder no longer is ([`absolute`]).
    pub fn new(
        name: impl Into<String>,
        open: impl FnOnce(PortId, &Host) -> io::Result<Option<Box<dyn Port>>> + 'static,
    ) -> Self {
        Self { name: name.into(), open: Box::new(open) }
    }
}

/// What ports are made of.
pub struct Host {
    /// To the machine, of what it has asked.
    pub line: Line,
    /// To the machine, of what comes from elsewhere.
    pub handle: Handle,
    /// What runs their tasks.
    pub runtime: Runtime,
    /// The host's console.
    pub console: Console,
    /// The machine's clock.
    pub clock: Arc<MachineClock>,
    /// What the machine may use.
    pub limits: Limits,
    /// What those that speak over sockets share.
    pub sockets: Sockets,
    /// As whom it calls others.
    pub caller: Arc<Caller>,
    /// Whether servers are open to clients.
    pub listens: bool,
}

/// Opens ports that a machine has been granted; one that this version does not have is left out.
///
/// # Errors
/// If one of them cannot be opened. None is open then.
pub fn open(grants: &[Grant], host: &Host) -> Result<HashMap<PortId, Box<dyn Port>>, RunError> {
    let mut ports = HashMap::new();
    for Grant { port, name } in grants {
        // Made absolute when it was granted.
        let Some(known) = understand(name, Path::new("/")) else { continue };
        let opened = (known.open)(*port, host).map_err(|source| RunError::Port { name: name.clone(), source })?;
        ports.extend(opened.map(|opened| (*port, opened)));
    }
    Ok(ports)
}

/// What a machine keeps of a name that a person gives in some folder; none if this version has no such port.
#[must_use]
pub fn resolve(name: &str, folder: &Path) -> Option<String> {
    understand(name, folder).map(|known| known.name)
}

/// Whether this version has a port of this name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    resolve(name, Path::new("/")).is_some_and(|kept| kept == name)
}

/// The forms that names of grants have.
#[must_use]
pub fn forms() -> String {
    KINDS.iter().flat_map(|kind| kind.forms).copied().collect::<Vec<_>>().join(", ")
}

/// Whether a grant is what a seed has asked for, or less: `http` asks for any `http:ADDRESS`.
#[must_use]
pub fn is_within(asked: &str, granted: &str) -> bool {
    if let Some(is_within) = http_client::is_within(asked, granted).or_else(|| files::is_within(asked, granted)) {
        return is_within;
    }
    granted.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Whether two grants are of one kind of port, wherever they lead.
#[must_use]
pub fn is_akin(one: &str, other: &str) -> bool {
    let kind = |name: &str| name.split(':').next().map(str::to_owned);
    kind(one) == kind(other)
}

/// The path of a folder or a file that the name of a grant has, if it has one.
#[must_use]
pub fn path(name: &str) -> Option<&str> {
    ["files-read:", "files-write:", "log:"].iter().find_map(|kind| name.strip_prefix(kind))
}

/// A path that was given in some folder, as it is from anywhere; none if it is no text. Links are not followed: what they lead to may change.
#[must_use]
pub fn absolute(path: &str, folder: &Path) -> Option<String> {
    let path = std::path::absolute(folder.join(path)).ok()?;
    // Without the end that `site/` and `.` leave.
    Some(path.components().collect::<std::path::PathBuf>().to_str()?.to_owned())
}

fn understand(name: &str, folder: &Path) -> Option<Known> {
    let is_short = |known: &Known| known.name.len() <= NAME_BYTES_MAX;
    KINDS.iter().find_map(|kind| (kind.parse)(name, folder)).filter(is_short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_the_same_wherever_they_are_read() {
        let resolved = |name| resolve(name, Path::new("/srv/notes"));
        assert_eq!(resolved("console").as_deref(), Some("console"));
        assert_eq!(resolved("http:[::1]:8080").as_deref(), Some("http:[::1]:8080"));
        for none in ["", "owner", "consoles", "clock:", "http", "http:here:80", "gopher:70"] {
            assert_eq!(resolved(none), None, "{none}");
        }
        assert!(forms().starts_with("console, clock, random, http:PORT, http:ADDRESS:PORT, http-client:ORIGIN, "));
        let path = |path| absolute(path, Path::new("/srv/notes"));
        assert_eq!(path("./site").as_deref(), Some("/srv/notes/site"));
        assert_eq!(path("site/").as_deref(), Some("/srv/notes/site"));
        assert_eq!(path(".").as_deref(), Some("/srv/notes"));
        assert_eq!(path("/srv/site").as_deref(), Some("/srv/site"));
    }

    #[test]
    fn grants_are_within_what_was_asked_for() {
        for (asked, granted) in [("http", "http:8080"), ("http", "http:[::]:80"), ("http:80", "http:80")] {
            assert!(is_within(asked, granted), "{asked} {granted}");
        }
        for (asked, granted) in [("http", "https:1"), ("http:8", "http:80"), ("http:80", "http"), ("", "http:80")] {
            assert!(!is_within(asked, granted), "{asked} {granted}");
        }
        assert!(is_akin("http:80", "http:[::]:8080") && !is_akin("http:80", "http-client:https://example.org"));
    }
}
