//! A control group with a memory limit, of either version, below the one that the tests are in: what limits them limits it, too. Gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A group; empty until somebody joins.
pub(super) struct Group {
    folder: PathBuf,
    is_v2: bool,
}

impl Group {
    /// A group with so much memory.
    ///
    /// # Errors
    /// What is missing here, in words.
    pub(super) fn new(kib: u64) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (parent, is_v2) = own().ok_or("there are no control groups for memory")?;
        let name = format!("abide-torture-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let group = Self { folder: parent.join(name), is_v2 };
        let cannot = |error| format!("no control group can be made in {}: {error}", parent.display());
        fs::create_dir(&group.folder).map_err(cannot)?;
        let bytes = (kib << 10).to_string();
        let limit = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(group.folder.join(limit), &bytes).map_err(cannot)?;
        // Swap would only put off the end; where there is none there is nothing to be set.
        let swap = if is_v2 { ("memory.swap.max", "0") } else { ("memory.memsw.limit_in_bytes", bytes.as_str()) };
        let _ = fs::write(group.folder.join(swap.0), swap.1);
        Ok(group)
    }

    /// What a shell does to be in it.
    pub(super) fn join(&self) -> String {
        format!("echo $$ > '{}'", self.folder.join("cgroup.procs").display())
    }

    /// How many KiB were used at most, where the kernel says.
    pub(super) fn most_used(&self) -> Option<u64> {
        let file = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        text.trim().parse::<u64>().ok().map(|bytes| bytes >> 10)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has just been killed may be in it for a moment longer.
        for _ in 0..200 {
            match fs::remove_dir(&self.folder) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// The group for memory that this process is in, and whether it is of the second version.
fn own() -> Option<(PathBuf, bool)> {
    let of = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = |is: &dyn Fn(&str) -> bool| {
        let mut lines = of.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        lines.find(|(controllers, _)| is(controllers)).map(|(_, path)| path.trim_start_matches('/').to_owned())
    };
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = |is: &dyn Fn(&str, &str) -> bool| {
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        mounts.find(|parts| parts.len() > 3 && is(parts[2], parts[3])).map(|parts| Path::new(parts[1]).to_owned())
    };
    let names_memory = |list: &str| list.split([',', ' ']).any(|name| name == "memory");
    if let (Some(path), Some(mount)) =
        (path(&names_memory), mount(&|kind, options| kind == "cgroup" && names_memory(options)))
    {
        return Some((mount.join(path), false));
    }
    let folder = mount(&|kind, _| kind == "cgroup2")?.join(path(&str::is_empty)?);
    let controllers = fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
    names_memory(controllers.trim()).then_some((folder, true))
}
