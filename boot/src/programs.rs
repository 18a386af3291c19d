//! Programs that are texts of the language, or PLAN seeds: what a machine of the kernel begins with.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use kernel::{Genesis, Source};
use lang::Value;
use lang::eval::Limits;
use lang::seedfile;
use lang::session::{Files, Session};
use persist::machine::Reading;
use seed::image::Image;
use seed::object::{Objects, load_blob};
use seed::{Domain, LoadError};

use crate::commands::bounded::{Bounds, Ended};
use crate::commands::fmt;
use crate::report::Failure;
use crate::seeds::read_file;
use crate::terminal::Progress;

/// Whether a file is a text of the language, by its name.
#[must_use]
pub fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "abide")
}

fn is_module(path: &Path, bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm") || path.extension().is_some_and(|extension| extension == "wat")
}

/// What the kernel allows a boot, too: some minutes.
const BOOT_STEPS_MAX: u64 = 1 << 32;

/// A program, run once on this host.
pub struct Program {
    /// Its file and those that it imports, by the names that it uses.
    pub files: Vec<(String, String)>,
    /// What it defines, in order.
    pub definitions: Vec<(String, Value)>,
    /// How many of its assertions hold.
    pub assertions: usize,
    session: Session,
}

impl Program {
    /// Reads a program and runs it: whatever is wrong with it is told here, before there is a machine of it.
    ///
    /// # Errors
    /// If it cannot be read, is not of the language, or an assertion does not hold.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path)?;
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
        let imported = Rc::new(RefCell::new(vec![(name, text.clone())]));
        let keeping = Rc::clone(&imported);
        let mut beside = files_of(path.parent().unwrap_or(Path::new("")));
        let files = move |name: &str| {
            let text = beside(name)?;
            keeping.borrow_mut().push((name.to_owned(), text.clone()));
            Ok(text)
        };
        let session = Session::new(Limits::default(), Box::new(files));
        let mut session = session.map_err(|limit| Failure::Evaluator { why: limit.to_string() })?;
        let progress = Progress::of(format!("evaluating {}", path.display()));
        let outcome = Bounds::of(Some(BOOT_STEPS_MAX)).run(&mut session, &text);
        drop(progress);
        let shown = path.display().to_string();
        let outcome = outcome.map_err(|ended| match ended {
            Ended::Text(error) => Failure::Text { rendered: error.render(&shown, &text) },
            _ => Failure::Text {
                rendered: format!(
                    "{shown} took {BOOT_STEPS_MAX} steps, which is all that a program may before it is a machine"
                ),
            },
        })?;
        let files = imported.borrow().clone();
        Ok(Self { files, definitions: outcome.definitions, assertions: outcome.assertions, session })
    }

    /// What a name means to it.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.session.environment().get(name)
    }

    /// The names to print values with.
    #[must_use]
    pub fn names(&self) -> lang::text::Names {
        self.session.names()
    }

    /// The ports that it asks for, besides those that every machine has; nothing if that cannot be read.
    fn ports(&self) -> Option<Vec<String>> {
        let Some(ports) = self.value("ports") else { return Some(Vec::new()) };
        ports.as_row()?.iter().map(|port| String::from_utf8(port.as_bar()?).ok()).collect()
    }

    /// Checks that a machine can be made of it.
    ///
    /// # Errors
    /// If it lacks `main` or `start`.
    pub fn check(&self, path: &Path) -> Result<(), Failure> {
        match ["main", "start"].into_iter().find(|name| self.value(name).is_none()) {
            Some(name) => Err(Failure::NoMain { path: path.to_owned(), name }),
            None => Ok(()),
        }
    }
}

/// What a machine of a text begins with, and the ports that the text asks for: a row named `ports`.
///
/// # Errors
/// If the text cannot be read, or no machine can be made of it.
pub fn of_text(path: &Path) -> Result<(Vec<u8>, Vec<String>), Failure> {
    let program = Program::read(path)?;
    program.check(path)?;
    let ports = program.ports().ok_or_else(|| Failure::Text {
        rendered: format!("{}: ports is no row of texts, as [\"http\"] is", path.display()),
    })?;
    Ok((Genesis { program: Source::Text(program.files), budget: 0 }.encode(), ports))
}

/// What a machine of a PLAN seed begins with, if the bytes of this file are one.
#[must_use]
pub fn genesis_of_plan(path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    let is_plan = plan(path, bytes).is_some();
    is_plan.then(|| Genesis { program: Source::Plan(bytes.to_vec()), budget: 0 }.encode())
}

/// What the machine in a folder began with, if it is one of the kernel's.
///
/// # Errors
/// If the machine cannot be read.
pub fn of_machine(path: &Path) -> Result<Option<Genesis>, Failure> {
    let reading = Reading::open(path)?;
    let root = reading.branch().checkpoint.root;
    let objects = reading.objects();
    let bytes = objects.load(Domain::Object, &root)?;
    let image = Image::decode(&bytes).map_err(|source| LoadError::Malformed { id: root, source })?;
    Ok(Genesis::decode(&load_blob(&objects, &image.genesis)?).ok())
}

/// The value of a PLAN seed, if the bytes of this file are one.
#[must_use]
pub fn plan(path: &Path, bytes: &[u8]) -> Option<Value> {
    if is_module(path, bytes) { None } else { seedfile::read(bytes).ok() }
}

/// The program's function and its first self, as one value: the row `[main start]`.
///
/// # Errors
/// If there is no such program.
pub fn value(path: &Path) -> Result<Value, Failure> {
    if !is_text(path) {
        return plan(path, &read_file(path)?).ok_or_else(|| Failure::NotOfTheLanguage { path: path.to_owned() });
    }
    let program = Program::read(path)?;
    program.check(path)?;
    let part = |name| program.value(name).cloned().unwrap_or_default();
    Ok(Value::row(vec![part("main"), part("start")]))
}

/// Files of a folder, as a session asks for them.
pub(crate) fn files_of(folder: &Path) -> Files {
    let folder = folder.to_owned();
    Box::new(move |name| {
        let path: PathBuf = folder.join(name);
        read_text(&path).map_err(|failure| match failure {
            Failure::Read { path, source } => format!("{}: {source}", path.display()),
            other => other.to_string(),
        })
    })
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let file = File::open(path).map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    fmt::read(path, file)
}
