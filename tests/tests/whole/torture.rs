//! Faults by the thousand, as often as a test has time for; `torture` does the same for as long as one likes.

use tests::torture::{
    assert_harmless, clocks, disk_errors, disk_full, live_copies, mapped_reads, memory_limits, openers, slow_disk,
    small_disks, stale_reader, system_calls,
};

#[test]
fn a_life_killed_at_every_system_call_loses_nothing() {
    assert_harmless(&system_calls::ROW);
}

#[test]
fn a_failing_disk_is_named_and_loses_nothing() {
    assert_harmless(&disk_errors::ROW);
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    assert_harmless(&disk_full::ROW);
}

#[test]
fn a_machine_on_a_full_disk_can_be_read_and_goes_on_when_there_is_room() {
    assert_harmless(&small_disks::ROW);
}

#[test]
fn a_running_machine_copied_by_cp_is_right_or_refused() {
    assert_harmless(&live_copies::ROW);
}

#[test]
fn of_two_that_open_a_machine_at_once_one_runs_it() {
    assert_harmless(&openers::ROW);
}

#[test]
fn a_hosts_clock_that_jumps_loses_no_timer_and_takes_no_time_back() {
    assert_harmless(&clocks::ROW);
}

#[test]
fn a_slow_disk_and_busy_processors_cost_time_and_nothing_else() {
    assert_harmless(&slow_disk::ROW);
}

#[test]
fn a_store_with_pages_that_cannot_be_read_is_named_and_loses_nothing() {
    assert_harmless(&mapped_reads::ROW);
}

#[test]
fn a_reader_that_stalls_or_dies_does_not_make_a_store_grow() {
    assert_harmless(&stale_reader::ROW);
}

#[test]
fn too_little_memory_ends_a_process_and_loses_nothing() {
    assert_harmless(&memory_limits::ROW);
}
