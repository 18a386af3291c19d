//! Trying out write protection on this kernel, in the way a machine uses it.

use super::chunks::Grain;
use super::{GuestMemory, MemoryError, PAGE_BYTES, Tracker, WASM_PAGE_BYTES};

/// Why write protection cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SelfTestFailure {
    #[error("{step}: {}", innermost(.source))]
    Refused {
        step: &'static str,
        #[source]
        source: MemoryError,
    },
    #[error("{step}: {} pages were reported as written, expected were {}", .found.len(), .expected.len())]
    Wrong { step: &'static str, expected: Vec<u32>, found: Vec<u32> },
}

const SIZE: usize = 4 * WASM_PAGE_BYTES;

/// Maps, writes, collects, collects again, grows, restores, clears: everything a tracker must get right, in small memories and in large ones.
pub(super) fn run() -> Result<(), SelfTestFailure> {
    let grain = Tracker::WriteProtect.grain();
    run_with(grain)?;
    run_with(grain.always_in_chunks())
}

fn run_with(grain: Grain) -> Result<(), SelfTestFailure> {
    let refused = |step| move |source| SelfTestFailure::Refused { step, source };
    let memory = GuestMemory::create(Tracker::WriteProtect, grain, SIZE, 4 * SIZE, WASM_PAGE_BYTES)
        .map_err(refused("set up"))?;
    let pages_of_host_page = u32::try_from(memory.mapping().host_page() / PAGE_BYTES).unwrap_or(1).max(1);
    let page = [7; PAGE_BYTES];
    let expect = |step, written: &[u32]| {
        let mut found = Vec::new();
        memory.collect_dirty(&mut found).map_err(refused(step))?;
        let round = |page: &u32| page - page % pages_of_host_page;
        let mut expected: Vec<u32> =
            written.iter().map(round).flat_map(|first| first..first + pages_of_host_page).collect();
        expected.dedup();
        if found == expected { Ok(()) } else { Err(SelfTestFailure::Wrong { step, expected, found }) }
    };

    let write = |index| memory.write_page(index, &page).map_err(refused("write"));

    expect("untouched memory", &[])?;
    write(0)?;
    write(33)?;
    expect("first writes", &[0, 33])?;
    expect("no writes", &[])?;
    write(33)?;
    expect("a write to a page that was collected", &[33])?;

    memory.allow_shutting();
    for _ in 0..grain.patience {
        expect("no writes", &[])?;
    }
    write(33)?;
    expect("a write to a page that was left alone for long", &[33])?;

    memory.grow_to(2 * SIZE).map_err(refused("grow"))?;
    expect("after growing", &[])?;
    let last = memory.page_count() - 1;
    write(0)?;
    write(last)?;
    expect("writes after growing", &[0, last])?;

    write(0)?;
    memory.clean().map_err(refused("clean"))?;
    expect("after a restore", &[])?;
    memory.reset(SIZE as u64).map_err(refused("reset"))?;
    expect("after a reset", &[])?;
    write(0)?;
    expect("a write after a reset", &[0])
}

/// The text of the last cause, which is what the kernel said.
fn innermost(error: &MemoryError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
