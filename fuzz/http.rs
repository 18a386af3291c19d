//! Codecs of HTTP, each as its file is: what a machine answers, says over a websocket, marks as pure, and calls.

#[path = "../boot/src/ports/http_client/call.rs"]
mod call;
#[path = "../boot/src/ports/http/exchange.rs"]
mod exchange;
#[path = "../boot/src/ports/headers.rs"]
mod headers;
#[path = "../boot/src/ports/http/pure.rs"]
mod pure;
#[path = "../boot/src/ports/http/spoken.rs"]
mod spoken;
#[path = "../boot/src/ports/http_client/url.rs"]
mod url;

#[path = "http_bodies.rs"]
pub mod bodies;
#[path = "http_client_bodies.rs"]
pub mod client_bodies;
