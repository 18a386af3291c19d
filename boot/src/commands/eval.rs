//! `abide eval`: a file of the language run, its assertions held to, its values shown.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use lang::compile::Outcome;
use lang::eval::Limits;
use lang::session::Session;
use lang::text::{WIDTH, show};
use serde_json::json;

use super::bounded::{Bounds, Ended};
use super::fmt;
use crate::cli::Eval;
use crate::programs::files_of;
use crate::report::Failure;
use crate::shown;
use crate::terminal::{Progress, say};

pub(crate) fn run(args: &Eval) -> Result<ExitCode, Failure> {
    let is_standard = args.file.as_os_str() == "-";
    let folder = if is_standard { Path::new("") } else { args.file.parent().unwrap_or(Path::new("")) };
    let source = if is_standard { fmt::read(&args.file, io::stdin().lock())? } else { read(&args.file)? };
    let mut session = session(folder)?;
    let progress = Progress::of(format!("evaluating {}", args.file.display()));
    let outcome = Bounds::of(args.steps).run(&mut session, &source);
    drop(progress);
    let outcome = outcome.map_err(|ended| match ended {
        Ended::Text(error) => Failure::Text { rendered: error.render(&shown_name(&args.file), &source) },
        Ended::Steps(steps) => Failure::Steps { what: shown_name(&args.file), steps },
        Ended::Interrupted => unreachable!("nobody catches interrupts here"),
    })?;
    let names = session.names();
    let mut out = io::stdout().lock();
    if args.json {
        let values: Vec<String> =
            outcome.values.iter().map(|value| show(value, &names, WIDTH).trim_end().to_owned()).collect();
        let defined: Vec<&String> = outcome.definitions.iter().map(|(name, _)| name).collect();
        let assertions = outcome.assertions;
        let json = json!({ "v": shown::JSON_VERSION, "assertions": assertions, "defined": defined, "values": values });
        writeln!(out, "{json}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for value in &outcome.values {
        write!(out, "{}", show(value, &names, WIDTH))?;
    }
    out.flush()?;
    if let Some(words) = held(&outcome) {
        say(&words);
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is to say of assertions.
fn held(outcome: &Outcome) -> Option<String> {
    match outcome.assertions {
        0 => None,
        1 => Some("1 assertion holds".to_owned()),
        more => Some(format!("{more} assertions hold")),
    }
}

fn shown_name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<String, Failure> {
    let file = File::open(path).map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    fmt::read(path, file)
}

/// A session whose imports are files of this folder.
pub(super) fn session(folder: &Path) -> Result<Session, Failure> {
    let limits = Limits::default();
    Session::new(limits, files_of(folder)).map_err(|limit| Failure::Evaluator { why: limit.to_string() })
}
