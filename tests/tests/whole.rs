//! Tests of the whole system, one binary: linking it once is cheaper than linking it for each.

#[path = "whole/sim.rs"]
mod sim;
#[path = "whole/step_loop.rs"]
mod step_loop;
#[path = "whole/tidy.rs"]
mod tidy;
