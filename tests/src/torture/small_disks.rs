//! File systems that are small, and as good as full: whatever room is left, each scene of a life does what it is to do or says that the disk is
//! full. Meanwhile the machine can be looked at and saved elsewhere, and when there is room it goes on.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::disk_full::says_full;
use super::rounds::{sweep, telling};
use super::scenes::{Scene, Stage, expect_ok};
use super::{Effort, Harm, Row, Tally};
use crate::abide::{place, place_in_memory};

/// A round is each scene, for each amount of room on each kind of file system.
pub const ROW: Row = Row { name: "small-disks", fault: "a full tmpfs, a full ext4", in_ci: 1, run };

const KINDS: [&str; 2] = ["tmpfs", "ext4"];
const DISK_MIB: u64 = 16;

/// Rooms left, in KiB: none, and up to what no scene needs.
const ROOMS_KIB: [u64; 16] = [0, 4, 8, 12, 16, 20, 28, 36, 44, 52, 64, 80, 100, 150, 200, 300];

fn run(effort: &Effort) -> Tally {
    for kind in KINDS {
        if let Err(error) = Disk::mount(kind) {
            return Tally::not_run(format!("{kind} cannot be mounted, which takes root: {error}"));
        }
    }
    let stage = Stage::new();
    // A client's disk is the machine's.
    let scenes = Scene::ALL.into_iter().filter(|scene| *scene != Scene::Client);
    let scenes = |kind| scenes.clone().map(move |scene| (kind, scene));
    let places: Vec<_> = KINDS.into_iter().flat_map(scenes).collect();
    let faults: Vec<_> = places.iter().flat_map(|place| ROOMS_KIB.map(|room| (*place, room))).collect();
    sweep(effort, &faults, |((kind, scene), room_kib)| {
        let again = format!("{scene:?} with {room_kib} KiB left on a {kind} of {DISK_MIB} MiB");
        Some(telling(&again, || {
            let disk = Disk::mount(kind).map_err(|error| Harm::Wrong(error.to_string()))?;
            played_with_room(&stage, *scene, &disk, *room_kib)
        }))
    })
}

fn played_with_room(stage: &Stage, scene: Scene, disk: &Disk, room_kib: u64) -> Result<(), Harm> {
    let failed = |error: io::Error| Harm::Wrong(format!("the disk cannot be filled: {error}"));
    let place = disk.path().join("place");
    fs::create_dir(&place).map_err(failed)?;
    stage.set(scene, &place);
    disk.fill(room_kib << 10).map_err(failed)?;
    let played = stage.play(scene, &place, |command| command)?;
    played.says_what_failed(&place, says_full)?;
    played.leaves_nothing_in_the_making(&place)?;
    let is_reading = matches!(scene, Scene::Verify | Scene::Log | Scene::Status);
    if is_reading && !played.ran.status.success() {
        return Err(Harm::Wrong(format!("a full disk is no reason not to read: {}", played.ran)));
    }
    if place.join("m").exists() {
        can_be_read(&place.join("m"))?;
    }
    disk.make_room().map_err(failed)?;
    played.judge(scene, &place)
}

/// A machine on a full disk can be looked at, and saved and copied to another.
fn can_be_read(machine: &Path) -> Result<(), Harm> {
    let elsewhere = place_in_memory();
    for command in ["status", "log", "verify"] {
        let _ = expect_ok([OsStr::new(command), machine.as_os_str()])?;
    }
    let (seed, copy) = (elsewhere.path().join("m.seed"), elsewhere.path().join("copy"));
    let _ = expect_ok([OsStr::new("save"), seed.as_os_str(), machine.as_os_str()])?;
    expect_ok([OsStr::new("copy"), machine.as_os_str(), copy.as_os_str()]).map(drop)
}

/// A small file system, mounted while this is not dropped.
struct Disk {
    image: TempDir,
}

impl Disk {
    fn mount(kind: &str) -> io::Result<Self> {
        let image = if kind == "tmpfs" { place() } else { place_in_memory() };
        let (point, file) = (image.path().join("disk"), image.path().join("image"));
        fs::create_dir(&point)?;
        let mut mount = Command::new("mount");
        match kind {
            "tmpfs" => mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "none"]).arg(&point),
            _ => {
                File::create(&file)?.set_len(DISK_MIB << 20)?;
                succeed(Command::new("mkfs").args(["-t", kind, "-q", "-m", "0"]).arg(&file))?;
                mount.args(["-o", "loop"]).arg(&file).arg(&point)
            }
        };
        succeed(&mut mount)?;
        Ok(Self { image })
    }

    fn path(&self) -> PathBuf {
        self.image.path().join("disk")
    }

    /// Leaves so much room, or a little less.
    fn fill(&self, room: u64) -> io::Result<()> {
        let mut ballast = OpenOptions::new().create(true).append(true).open(self.path().join("ballast"))?;
        loop {
            // What a file system counts as taken shows when it is on the disk.
            ballast.sync_all()?;
            let disk = rustix::fs::statvfs(self.path())?;
            let (block, left) = (disk.f_frsize.max(1), disk.f_bavail * disk.f_frsize);
            let surplus = left.saturating_sub(room).min(1 << 20) / block * block;
            if surplus == 0 {
                return Ok(());
            }
            match ballast.write_all(&vec![0x5a; usize::try_from(surplus).unwrap_or(0)]) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                other => other?,
            }
        }
    }

    fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.path().join("ballast"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // At once or, if a process that was killed still has something open, when it is gone.
        let _ = succeed(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let ran = command.stdin(Stdio::null()).output()?;
    let words = || format!("{}: {}", command.get_program().to_string_lossy(), String::from_utf8_lossy(&ran.stderr));
    if ran.status.success() { Ok(()) } else { Err(io::Error::other(words())) }
}
