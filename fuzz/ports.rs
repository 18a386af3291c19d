//! Codecs of ports and of the control socket, each as its file is: the fuzzer does not know the crate that they are of, which has the engine.

#[path = "../boot/src/ports/clock/payload.rs"]
pub mod clock;
#[path = "../boot/src/ports/files/payload.rs"]
pub mod files;
#[path = "../boot/src/ports/tcp/payload.rs"]
pub mod tcp;
#[path = "../boot/src/control/wish.rs"]
pub mod wish;

#[path = "port_bodies.rs"]
pub mod bodies;
