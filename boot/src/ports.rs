//! The ports of this host, one file each.

pub mod clock;
pub mod console;
pub mod http;
pub mod random;

use std::collections::HashMap;
use std::sync::Arc;

use seed::PortId;
use seed::image::{Grant, Limits};
use tokio::runtime::Handle as Runtime;
use vm::port::{Line, Port};

use self::console::Console;
use crate::clocks::MachineClock;
use crate::driver::{Handle, RunError};
use crate::terminal::say;

/// Ports that every machine is given unless its seed forbids it, in the order of their numbers from 1.
pub const GIVEN: [&str; 3] = ["console", "clock", "random"];

/// What ports are made of.
pub struct Host<'a> {
    /// To the machine, of what it has asked.
    pub line: &'a Line,
    /// To the machine, of what comes from elsewhere.
    pub handle: &'a Handle,
    /// What runs their tasks.
    pub runtime: &'a Runtime,
    /// The host's console.
    pub console: &'a Console,
    /// The machine's clock.
    pub clock: &'a Arc<MachineClock>,
}

/// Opens the ports that a machine has been granted; servers among them only if it `listens`.
///
/// # Errors
/// If one of them cannot be opened.
pub fn open(
    grants: &[Grant],
    limits: &Limits,
    host: &Host<'_>,
    listens: bool,
) -> Result<HashMap<PortId, Box<dyn Port>>, RunError> {
    let mut ports = HashMap::new();
    for Grant { port, name } in grants {
        let failed = |source| RunError::Port { name: name.clone(), source };
        let opened: Box<dyn Port> = match name.as_str() {
            "console" => Box::new(host.console.port(host.line.clone()).map_err(failed)?),
            "clock" => Box::new(clock::Clock::new(host.line.clone(), host.runtime.clone(), Arc::clone(host.clock))),
            "random" => Box::new(random::Random::new(host.line.clone())),
            name => match http::address(name) {
                Some(address) if listens => {
                    let inlet = (host.handle.clone(), *port);
                    let server =
                        http::Http::listen(address, host.line.clone(), inlet, limits.input_bytes, host.runtime);
                    let server = server.map_err(failed)?;
                    say(&format!("listening on http://{}", server.address()));
                    Box::new(server)
                }
                _ => continue,
            },
        };
        ports.insert(*port, opened);
    }
    Ok(ports)
}

/// Whether this version has a port of this name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    GIVEN.contains(&name) || http::address(name).is_some()
}

/// Whether a grant is what a seed has asked for, or less: `http` asks for any `http:ADDRESS`.
#[must_use]
pub fn is_within(asked: &str, granted: &str) -> bool {
    granted.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}
