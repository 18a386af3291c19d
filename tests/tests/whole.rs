//! Tests of the whole system, one binary: linking it once is cheaper than linking it for each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "tests say what they have covered, and what they have not run")]

#[path = "whole/bad_seeds.rs"]
mod bad_seeds;
#[path = "whole/browsers.rs"]
mod browsers;
#[path = "whole/client.rs"]
mod client;
#[path = "whole/command_line.rs"]
mod command_line;
#[path = "whole/compatibility.rs"]
mod compatibility;
#[path = "whole/conversations.rs"]
mod conversations;
#[path = "whole/copies.rs"]
mod copies;
#[path = "whole/damage.rs"]
mod damage;
#[path = "whole/dashboard.rs"]
mod dashboard;
#[path = "whole/engines.rs"]
mod engines;
#[path = "whole/examples.rs"]
mod examples;
#[path = "whole/files.rs"]
mod files;
#[path = "whole/formatting.rs"]
mod formatting;
#[path = "whole/grants.rs"]
mod grants;
#[path = "whole/http.rs"]
mod http;
#[path = "whole/kernel.rs"]
mod kernel;
#[path = "whole/kills.rs"]
mod kills;
#[path = "whole/kv.rs"]
mod kv;
#[path = "whole/language.rs"]
mod language;
#[path = "whole/power_cuts.rs"]
mod power_cuts;
#[path = "whole/programs.rs"]
mod programs;
#[path = "whole/pure.rs"]
mod pure;
#[path = "whole/queries.rs"]
mod queries;
#[path = "whole/repair.rs"]
mod repair;
#[path = "whole/runaways.rs"]
mod runaways;
#[path = "whole/scrub.rs"]
mod scrub;
#[path = "whole/sqlite.rs"]
mod sqlite;

#[path = "whole/sim.rs"]
mod sim;
#[path = "whole/step_loop.rs"]
mod step_loop;
#[path = "whole/tcp.rs"]
mod tcp;
#[path = "whole/tidy.rs"]
mod tidy;
#[path = "whole/torture.rs"]
mod torture;
#[path = "whole/web_examples.rs"]
mod web_examples;
#[path = "whole/websockets.rs"]
mod websockets;
