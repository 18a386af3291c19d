//! Power cuts under real file systems: `torture::power_cuts`, as often as a test can.

use tests::torture::{assert_harmless, power_cuts};

#[test]
fn a_power_cut_at_any_write_loses_nothing_that_was_acknowledged() {
    assert_harmless(&power_cuts::ROW);
}

/// The net has no holes: what is lost by a disk that only pretends to flush is missed.
#[test]
fn a_disk_that_lies_about_its_last_flush_is_found_out() {
    let tally = power_cuts::on_a_lying_disk(60);
    println!("{tally}");
    assert!(tally.not_run.is_some() || !tally.lost.is_empty(), "{tally}");
}
