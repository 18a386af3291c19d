//! A new machine in the place of another, which is kept: both are there, whole, at every moment.
//!
//! The new folder first appears under the name that the old one is to have, `MACHINE.damaged`, with a file in it that says so. Then the two folders
//! are exchanged, which is one atomic step, and the file is removed:
//!
//! ```text
//!     MACHINE old                                     begun
//!     MACHINE old    MACHINE.damaged new, unplaced    made: the next repair removes it and begins anew
//!     MACHINE new, unplaced   MACHINE.damaged old     exchanged: the next repair removes the file
//!     MACHINE new    MACHINE.damaged old              done
//! ```
//!
//! Where a file system cannot exchange, the old folder is renamed to a name of its own and the new one to its place; in between there is no machine
//! at the place, and the next repair finishes.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Folder, FolderError, LOCK_FILE, LockedFolder, NewFolder, move_to, sync_folder, write_new};
use crate::sys;

/// In a new folder that is not in its place yet.
const UNPLACED_FILE: &str = "unplaced";
const UNPLACED_WORDS: &[u8] = b"a repaired machine on its way to its place\n";
/// Nobody repairs a machine so often.
const NAMES_MAX: u32 = 10_000;

/// The first of `MACHINE.damaged`, `MACHINE.damaged-2` and so on that nothing has.
///
/// # Errors
/// If the place has no name, or there is no such name.
pub fn free_name(place: &Path) -> io::Result<PathBuf> {
    for number in 1..NAMES_MAX {
        let name = damaged_name(place, number).ok_or(io::ErrorKind::InvalidInput)?;
        match name.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(name),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn damaged_name(place: &Path, number: u32) -> Option<PathBuf> {
    let mut name = OsString::from(place.file_name()?);
    name.push(".damaged");
    if number > 1 {
        name.push(format!("-{number}"));
    }
    Some(place.with_file_name(name))
}

/// Clears away what a repair of this place has left that was killed: a new folder that never came to its place, or its mark. Where no machine
/// is at the place, the new folder is put there.
///
/// # Errors
/// What the system says.
pub fn settle_leftovers(place: &Path) -> io::Result<()> {
    for number in 1..NAMES_MAX {
        let Some(name) = damaged_name(place, number) else { break };
        if name.symlink_metadata().is_err() {
            break;
        }
        let is_ours = std::fs::read(name.join(UNPLACED_FILE)).is_ok_and(|words| words == UNPLACED_WORDS);
        let is_held =
            || std::fs::File::open(name.join(LOCK_FILE)).is_ok_and(|lock| sys::is_file_locked(&lock).unwrap_or(true));
        if !is_ours || is_held() {
            continue;
        }
        match place.symlink_metadata() {
            Ok(_) => std::fs::remove_dir_all(&name)?,
            Err(_) => {
                move_to(&name, place)?;
                sync_folder(parent_of(place))?;
            }
        }
    }
    unmark(place)
}

fn unmark(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(UNPLACED_FILE)) {
        Ok(()) => sync_folder(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn parent_of(place: &Path) -> &Path {
    place.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

impl NewFolder {
    /// Makes the folder durable and puts it in the place of the one that is at `place`, which the caller has locked. The new folder was begun for a
    /// [`free_name`] beside it. Where the old one is now comes with the new one.
    ///
    /// # Errors
    /// [`FolderError`]; both folders are there then, and the old one is at its place.
    pub fn replace(self, place: &Path) -> Result<(LockedFolder, PathBuf), FolderError> {
        let failed = |source| FolderError::Replace { path: place.to_owned(), source };
        let beside = self.place.clone();
        write_new(&self.path().join(UNPLACED_FILE), UNPLACED_WORDS).map_err(failed)?;
        let mut new = self.publish()?;
        let old = match exchange(&beside, place) {
            Ok(old) => old,
            Err(error) => {
                // It is whole, and a copy of what is at the place as far as that stands.
                let _ = std::fs::remove_dir_all(&beside);
                return Err(failed(error));
            }
        };
        // From here on the new machine is at its place.
        unmark(place).and_then(|()| sync_folder(parent_of(place))).map_err(failed)?;
        new.folder = Folder::open(place)?;
        new.lock.folder = place.to_owned();
        Ok((new, old))
    }
}

/// Exchanges two folders beside each other. Where the one that was at `place` is now.
fn exchange(new: &Path, place: &Path) -> io::Result<PathBuf> {
    let done = match renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
        Ok(()) => new.to_owned(),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let aside = free_name(place)?;
            move_to(place, &aside)?;
            if let Err(error) = move_to(new, place) {
                move_to(&aside, place)?;
                return Err(error);
            }
            aside
        }
        Err(error) => return Err(error.into()),
    };
    sync_folder(parent_of(place))?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Lock;

    fn make(place: &Path, words: &str) {
        let new = NewFolder::begin(place, 1).unwrap();
        std::fs::write(new.path().join("words"), words).unwrap();
        drop(new.publish().unwrap());
    }

    fn new(place: &Path, words: &str) -> NewFolder {
        let new = NewFolder::begin(&free_name(place).unwrap(), 2).unwrap();
        std::fs::write(new.path().join("words"), words).unwrap();
        new
    }

    fn words(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("words")).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn the_new_one_is_at_its_place_and_the_old_ones_are_kept() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        make(&place, "first");
        for (number, text) in ["second", "third"].into_iter().enumerate() {
            let held = Lock::acquire(&place).unwrap();
            let (locked, old) = new(&place, text).replace(&place).unwrap();
            assert_eq!(locked.path(), place);
            assert!(Lock::holder(&place).unwrap().is_some(), "both are held until the end");
            assert_eq!(old, damaged_name(&place, u32::try_from(number).unwrap() + 1).unwrap());
            drop((held, locked));
            assert_eq!(words(&place), text);
        }
        assert_eq!(names(parent.path()), ["m", "m.damaged", "m.damaged-2"]);
        assert_eq!(
            (words(&parent.path().join("m.damaged")), words(&parent.path().join("m.damaged-2"))),
            ("first".into(), "second".into())
        );
        assert_eq!(names(&place), ["abide", "lock", "words"]);
    }

    #[test]
    fn whatever_a_killed_repair_leaves_is_settled_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        let (damaged, aside) = (parent.path().join("m.damaged"), parent.path().join("m.damaged-2"));
        let mark = |folder: &Path| std::fs::write(folder.join(UNPLACED_FILE), UNPLACED_WORDS).unwrap();
        make(&place, "old");
        // Killed before the exchange.
        make(&damaged, "new");
        mark(&damaged);
        settle_leftovers(&place).unwrap();
        assert_eq!(names(parent.path()), ["m"]);
        // Killed after it.
        make(&damaged, "older");
        mark(&place);
        settle_leftovers(&place).unwrap();
        assert_eq!((names(parent.path()), names(&place).len()), (vec!["m".to_owned(), "m.damaged".to_owned()], 3));
        // Killed between two renames.
        std::fs::rename(&place, &aside).unwrap();
        std::fs::remove_dir_all(&damaged).unwrap();
        make(&damaged, "new");
        mark(&damaged);
        settle_leftovers(&place).unwrap();
        assert_eq!((words(&place), words(&aside)), ("new".into(), "old".into()));
        assert_eq!(names(parent.path()), ["m", "m.damaged-2"]);
    }

    #[test]
    fn a_place_that_cannot_be_exchanged_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        let new = new(&place, "new");
        assert!(matches!(new.replace(&place), Err(FolderError::Replace { .. })), "nothing is there to be replaced");
        assert!(names(parent.path()).is_empty());
    }
}
