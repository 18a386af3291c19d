//! `abide eval`: a file of the language run, its assertions held to, its values shown. And the same at a prompt, without a machine.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lang::compile::Outcome;
use lang::eval::Limits;
use lang::session::Session;
use lang::text::{WIDTH, brief, show};
use serde_json::json;

use super::fmt;
use crate::cli::Eval;
use crate::report::{Failure, Paint};
use crate::shown;
use crate::terminal::{self, Progress, say};

pub(crate) fn run(args: &Eval) -> Result<ExitCode, Failure> {
    let is_standard = args.file.as_os_str() == "-";
    let folder = if is_standard { Path::new("") } else { args.file.parent().unwrap_or(Path::new("")) };
    let source = if is_standard { fmt::read(&args.file, io::stdin().lock())? } else { read(&args.file)? };
    let mut session = session(folder)?;
    let progress = Progress::of(format!("evaluating {}", args.file.display()));
    let outcome = session.run(&source);
    drop(progress);
    let outcome =
        outcome.map_err(|error| Failure::Text { rendered: error.render(&shown_name(&args.file), &source) })?;
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
fn session(folder: &Path) -> Result<Session, Failure> {
    let folder = folder.to_owned();
    let files = move |name: &str| -> Result<String, String> {
        let path: PathBuf = folder.join(name);
        let mut text = String::new();
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut bounded = file.take(fmt::TEXT_BYTES_MAX + 1);
        bounded.read_to_string(&mut text).map_err(|error| format!("{}: {error}", path.display()))?;
        if text.len() as u64 > fmt::TEXT_BYTES_MAX {
            return Err(format!("{} has more than {} MiB", path.display(), fmt::TEXT_BYTES_MAX >> 20));
        }
        Ok(text)
    };
    let limits = Limits::default();
    Session::new(limits, Box::new(files)).map_err(|limit| Failure::Evaluator { why: limit.to_string() })
}

/// How deep a prompt looks into a value.
const SHOWN_DEPTH: usize = 12;
const HELP: &str = "\
a form is evaluated when its brackets are closed; (def name value) defines
:source NAME   what a name means, as text that can be read back
:help          this
^D             leaves";

/// Forms in, values out, until the end of standard input.
pub(crate) fn talk() -> Result<ExitCode, Failure> {
    let mut session = session(Path::new(""))?;
    let is_asked = io::stdin().is_terminal() && terminal::is_watched();
    let paint = Paint::of(&io::stderr());
    if is_asked {
        say("nothing of this is kept: it is no machine's; :help helps, ^D leaves");
    }
    let mut lines = io::stdin().lock().lines();
    let mut typed = String::new();
    let mut has_failed = false;
    loop {
        if is_asked {
            terminal::prompt(&paint.strong(if typed.is_empty() { "> " } else { ". " }));
        }
        let line =
            lines.next().transpose().map_err(|source| Failure::Read { path: "standard input".into(), source })?;
        terminal::answered();
        let is_end = line.is_none();
        if let Some(line) = line {
            typed.push_str(&line);
            typed.push('\n');
        }
        if typed.trim().is_empty() || answer(&mut session, &mut typed, is_end, &paint, &mut has_failed)? {
            typed.clear();
        }
        if is_end {
            if is_asked {
                say("");
            }
            return Ok(if has_failed && !is_asked { ExitCode::from(crate::report::FAILED) } else { ExitCode::SUCCESS });
        }
    }
}

/// Answers what was typed. False if it may go on.
fn answer(
    session: &mut Session,
    typed: &mut str,
    is_end: bool,
    paint: &Paint,
    has_failed: &mut bool,
) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    if let Some(command) = typed.trim().strip_prefix(':') {
        match command.split_once(' ') {
            Some(("source", name)) => match session.environment().get(name.trim()) {
                Some(value) => write!(out, "{}", show(value, &session.names_but(name.trim()), WIDTH))?,
                None => say(&format!("{} nothing is named {}", paint.error("error:"), name.trim())),
            },
            _ if command == "help" => say(HELP),
            _ => say(&format!("{} there is no :{command}; :help says what there is", paint.error("error:"))),
        }
        return Ok(true);
    }
    match session.run(typed) {
        Ok(outcome) => {
            let names = session.names();
            for value in &outcome.values {
                writeln!(out, "{}", brief(value, &names, WIDTH, SHOWN_DEPTH).text)?;
            }
            out.flush()?;
        }
        Err(error) if error.problem.is_incomplete() && !is_end => return Ok(false),
        Err(error) => {
            *has_failed = true;
            say(&format!("{} {}", paint.error("error:"), error.render("typed", typed).trim_end()));
        }
    }
    Ok(true)
}
