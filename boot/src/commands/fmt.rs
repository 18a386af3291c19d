//! `abide fmt`: texts of the language in their one layout.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use lang::text::{WIDTH, format};
use persist::folder::{Scratch, sync_folder};

use crate::cli::Fmt;
use crate::clocks::random;
use crate::report::{FAILED, Failure};

/// The reader takes less than a second for as much.
pub(crate) const TEXT_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn run(args: &Fmt) -> Result<ExitCode, Failure> {
    let mut is_changed = false;
    for path in &args.files {
        if path.as_os_str() == "-" {
            let text = read(path, io::stdin().lock())?;
            let laid_out = lay_out(path, text)?.1;
            io::stdout().write_all(laid_out.as_bytes())?;
            continue;
        }
        let file = File::open(path).map_err(|source| Failure::Read { path: path.clone(), source })?;
        let (text, laid_out) = lay_out(path, read(path, file)?)?;
        if text == laid_out {
            continue;
        }
        is_changed = true;
        writeln!(io::stdout(), "{}", path.display())?;
        if !args.check {
            replace(path, &laid_out)?;
        }
    }
    Ok(if args.check && is_changed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// A text, of no more than [`TEXT_BYTES_MAX`].
pub(crate) fn read(path: &Path, from: impl Read) -> Result<String, Failure> {
    let failed = |source| Failure::Read { path: path.to_owned(), source };
    let mut text = String::new();
    from.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        return Err(failed(io::Error::other(format!("it has more than {} MiB", TEXT_BYTES_MAX >> 20))));
    }
    Ok(text)
}

/// A text, and how it should be laid out.
fn lay_out(path: &Path, text: String) -> Result<(String, String), Failure> {
    match format(&text, WIDTH) {
        Ok(laid_out) => Ok((text, laid_out)),
        Err(error) => Err(Failure::Text { rendered: error.render(&path.display().to_string(), &text) }),
    }
}

/// The whole new text under the old name, or the old one: whoever wrote it loses nothing.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |source| Failure::Write { path: path.to_owned(), source };
    // What is changed is the file and not a link to it.
    let path = fs::canonicalize(path).map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let scratch = Scratch::begin(folder, u64::from_le_bytes(random()?)).map_err(failed)?;
    let new = scratch.path().join("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(folder)
    };
    write().map_err(failed)
}
