//! What abide costs, each figure beside its floor: the least that anybody could do with the same means, measured in the same run, in turns with the
//! figure, so that a busy host slows both.
//!
//! Times are wall time, medians of rounds. Nothing here fails when a target is missed: it is printed, and docs/bench.md says why.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]
#![allow(clippy::cast_possible_truncation, reason = "counts of a bench are small")]

mod choices;
mod commits;
mod events;
mod guests;
mod language;
mod launch;
mod machine;
mod opening;
mod report;
mod web;

use report::Report;

/// A name for the command line, and what it measures.
type Section = (&'static str, fn(&mut Report));

/// The sections in the order of docs/bench.md.
const SECTIONS: [Section; 9] = [
    ("events one by one", events::sequential),
    ("events queued", events::queued),
    ("commits", commits::run),
    ("guests", guests::run),
    ("language", language::run),
    ("launch", launch::run),
    ("opening", opening::run),
    ("choices", choices::run),
    ("web", web::run),
];

/// Runs the sections that the command line names, or all.
pub fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    // Guests run on the caller's stack, and need more of it than a main thread has.
    let stack = vm::engine::Engine::thread_stack_bytes(&seed::image::Limits::default());
    let run = move || {
        let mut report = Report::default();
        for (name, section) in SECTIONS {
            if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
                report.section(name);
                section(&mut report);
            }
        }
        report.finish();
    };
    let thread = std::thread::Builder::new().stack_size(stack).spawn(run).expect("a thread can be started");
    if thread.join().is_err() {
        std::process::exit(1);
    }
}
