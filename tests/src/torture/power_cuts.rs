//! Power cuts under real file systems: a machine lives on a disk whose every write and flush is recorded, and everything it has acknowledged is
//! noted with the position of the record at that moment. Then the disk is made as a power cut would have left it, around every flush and at
//! random, and the machine has to be there with all that was acknowledged by then, whole, and go on. One recovery in four is cut again, by its own
//! record.
//!
//! A seed decides what is said and where to cut, but threads and the kernel decide what reaches the disk in which order: the first disks that did
//! harm are kept as files.

mod acknowledged;
mod lived;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::blocklog::{Blocks, Cut, Disk, Disks, Keep, Mounted, Record};
use super::{Effort, Harm, Row, Tally};
use crate::sim::random::Random;
use acknowledged::{Acknowledged, Expected};

/// A round is one state of a disk.
pub const ROW: Row = Row {
    name: "power-cuts",
    fault: "power cuts under ext4, xfs and btrfs, and again in the recovery",
    in_ci: 650,
    run,
};

/// Where a machine lives.
struct FileSystem {
    kind: &'static str,
    format: &'static [&'static str],
    /// What a system does at its start to one that cannot be mounted.
    repair: Option<&'static [&'static str]>,
    /// Not much more than the file system insists on.
    size: u64,
}

const MIB: u64 = 1 << 20;

const EXT4: FileSystem = FileSystem {
    kind: "ext4",
    // Everything now: what is put off is written by the kernel while the machine lives.
    format: &["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
    // Its superblock is two sectors, and torn between them it has a wrong checksum.
    repair: Some(&["e2fsck", "-f", "-y"]),
    size: 64 * MIB,
};
const XFS: FileSystem =
    FileSystem { kind: "xfs", format: &["mkfs.xfs", "-q", "-f", "-K"], repair: None, size: 300 * MIB };
const BTRFS: FileSystem =
    FileSystem { kind: "btrfs", format: &["mkfs.btrfs", "-q", "-f", "-K"], repair: None, size: 128 * MIB };

/// Lives in turn, each on a new disk, and how many states to make of each. The tests go
/// through them once, which takes one to three minutes.
const LIVES: [(FileSystem, u64); 4] = [(EXT4, 250), (XFS, 75), (EXT4, 250), (BTRFS, 75)];

/// How many disks that did harm are kept.
const KEPT_MAX: usize = 3;

fn run(effort: &Effort) -> Tally {
    let disks = match Disks::open() {
        Ok(disks) => disks,
        Err(why) => return Tally::not_run(why),
    };
    let mut tally = Tally::default();
    let mut missing = Vec::new();
    for file_system in [&EXT4, &XFS, &BTRFS] {
        if let Err(why) = try_out(&disks, file_system) {
            tally.left_out.push(format!("{}: {why}", file_system.kind));
            missing.push(file_system.kind);
        }
    }
    let lives: Vec<_> = LIVES.iter().filter(|(file_system, _)| !missing.contains(&file_system.kind)).collect();
    if lives.is_empty() {
        return Tally::not_run(tally.left_out.join("; "));
    }
    for (seed, (file_system, states)) in (effort.seed..).zip(lives.into_iter().cycle()) {
        if !effort.goes_on(tally.injected) {
            break;
        }
        let states = (*states).min(effort.rounds - tally.injected);
        OneLife { disks: &disks, file_system, seed, is_lied_to: false }.cut(effort, states, &mut tally);
    }
    tally
}

fn try_out(disks: &Disks, file_system: &FileSystem) -> Result<(), String> {
    let disk = disks.disk(file_system.size, Blocks::default());
    disk.treat(file_system.format)?;
    disk.mount(file_system.kind).map(drop)
}

/// Cuts of a disk that has lied about its last flush. No machine survives all of them: without harm here, the row would see none at all.
#[must_use]
pub fn on_a_lying_disk(states: u64) -> Tally {
    let disks = match Disks::open() {
        Ok(disks) => disks,
        Err(why) => return Tally::not_run(why),
    };
    if let Err(why) = try_out(&disks, &EXT4) {
        return Tally::not_run(why);
    }
    let mut tally = Tally::default();
    let effort = Effort { rounds: states, until: None, seed: 0 };
    OneLife { disks: &disks, file_system: &EXT4, seed: 0, is_lied_to: true }.cut(&effort, states, &mut tally);
    tally
}

/// One life of a machine, on one disk.
struct OneLife<'a> {
    disks: &'a Disks,
    file_system: &'a FileSystem,
    seed: u64,
    is_lied_to: bool,
}

impl OneLife<'_> {
    /// Lives, and cuts that so often.
    fn cut(&self, effort: &Effort, states: u64, tally: &mut Tally) {
        let (record, acknowledged) = self.live();
        let mut random = Random::new(self.seed);
        let end = tally.injected + states;
        while tally.injected < end && effort.goes_on(tally.injected) {
            let cut = self.somewhere(&record, &acknowledged, &mut random);
            let what = format!("{cut} of {}", record.end());
            let recovery = self.survive(record.cut(cut), &acknowledged.at(cut.position), &what, tally);
            let Some((record, acknowledged)) = recovery.filter(|_| random.one_in(4) && tally.injected < end) else {
                continue;
            };
            let cut = self.somewhere(&record, &acknowledged, &mut random);
            let what = format!("{what}; recovery {cut} of {}", record.end());
            self.survive(record.cut(cut), &acknowledged.at(cut.position), &what, tally);
        }
    }

    fn live(&self) -> (Record, Acknowledged) {
        let disk = self.disks.disk(self.file_system.size, Blocks::default());
        disk.treat(self.file_system.format).expect("it has been tried out");
        let mounted = disk.mount(self.file_system.kind).expect("it has been tried out");
        disk.begin_record();
        let acknowledged = lived::a_life(&mounted, self.seed);
        (disk.take_record(), acknowledged)
    }

    /// Mostly just before or just after a flush, and now and then while a machine is being made: that is short, and a folder is then half there.
    fn somewhere(&self, record: &Record, acknowledged: &Acknowledged, random: &mut Random) -> Cut {
        let makings = acknowledged.makings();
        let within = if random.one_in(8) { makings[random.index(makings.len())].clone() } else { 0..record.end() };
        let mut flushes = record.flushes();
        flushes.retain(|flush| within.contains(flush));
        let position = match flushes.len() {
            0 => random.index(record.end() + 1),
            _ if random.one_in(4) => within.start + random.index(within.len() + 1),
            count => flushes[random.index(count)] + random.index(2),
        };
        Cut { position, keep: Keep::random(random), is_lied_to: self.is_lied_to }
    }

    /// Starts the machine from a disk as a power cut has left it. What reached that disk meanwhile, and what was acknowledged.
    fn survive(
        &self,
        blocks: Blocks,
        expected: &Expected,
        what: &str,
        tally: &mut Tally,
    ) -> Option<(Record, Acknowledged)> {
        let disk = self.disks.disk(self.file_system.size, blocks.clone());
        let recovered = catch_unwind(AssertUnwindSafe(|| {
            let mounted = self.mounted(&disk).map_err(Harm::Wrong)?;
            let acknowledged = lived::a_recovery(&mounted, self.seed, expected, tally.injected.is_multiple_of(2))?;
            Ok((disk.take_record(), acknowledged))
        }));
        // A check that fails in the usual way of tests has found something wrong.
        let recovered = recovered.unwrap_or_else(|panic| Err(Harm::Wrong(words(panic.as_ref()))));
        match recovered {
            Ok(recovery) => {
                tally.count(Ok(()));
                Some(recovery)
            }
            Err(harm) => {
                let explained = self.explain(harm, what, &blocks, tally);
                tally.count(Err(explained));
                None
            }
        }
    }

    fn mounted<'a>(&self, disk: &'a Disk<'_>) -> Result<Mounted<'a>, String> {
        let FileSystem { kind, repair, .. } = self.file_system;
        let Some(repair) = repair else { return disk.mount(kind) };
        disk.mount(kind).or_else(|_| {
            // Whether it is repaired now, the next mount says; its tool fails even if it has done all there was to do.
            let _ = disk.treat(repair);
            disk.mount(kind)
        })
    }

    fn explain(&self, harm: Harm, what: &str, blocks: &Blocks, tally: &Tally) -> Harm {
        let Self { file_system: FileSystem { kind, size, .. }, seed, .. } = self;
        let kept = if self.is_lied_to || tally.lost.len() + tally.wrong.len() >= KEPT_MAX {
            "the disk is not kept".to_owned()
        } else {
            let name = format!("abide-power-cut-{}-{kind}-{seed}-{}.img", std::process::id(), tally.injected);
            let path = std::env::temp_dir().join(name);
            match blocks.save(&path, *size) {
                Ok(()) => format!("see it again: mount -o loop {} DIR", path.display()),
                Err(error) => format!("the disk cannot be kept: {error}"),
            }
        };
        let text = |found| format!("{kind}, seed {seed}, {what}: {found}\n  {kept}");
        match harm {
            Harm::Lost(found) => Harm::Lost(text(found)),
            Harm::Wrong(found) => Harm::Wrong(text(found)),
        }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
