//! Tests of this crate from outside, one binary: linking it once is cheaper than linking it for each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "whole/captures.rs"]
mod captures;
#[path = "whole/grants.rs"]
mod grants;
#[path = "whole/life.rs"]
mod life;
#[path = "whole/stop.rs"]
mod stop;
