//! The ports of this host, one file each.

pub mod clock;
pub mod console;
pub mod random;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use seed::PortId;
use seed::image::Grant;
use tokio::runtime::Handle;
use vm::port::{Line, Port};

use self::console::Console;
use crate::clocks::MachineClock;

/// Ports that every machine is given unless its seed forbids it, in the order of their numbers from 1.
pub const GIVEN: [&str; 3] = ["console", "clock", "random"];

/// Opens the ports that a machine has been granted.
///
/// # Errors
/// If the host lacks the means.
pub fn open(
    grants: &[Grant],
    line: &Line,
    runtime: &Handle,
    console: &Console,
    clock: &Arc<MachineClock>,
) -> io::Result<HashMap<PortId, Box<dyn Port>>> {
    let mut ports = HashMap::new();
    for grant in grants {
        let port: Box<dyn Port> = match grant.name.as_str() {
            "console" => Box::new(console.port(line.clone())?),
            "clock" => Box::new(clock::Clock::new(line.clone(), runtime.clone(), Arc::clone(clock))),
            "random" => Box::new(random::Random::new(line.clone())),
            _ => continue,
        };
        ports.insert(grant.port, port);
    }
    Ok(ports)
}

/// Whether this version has a port of this name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    GIVEN.contains(&name)
}
