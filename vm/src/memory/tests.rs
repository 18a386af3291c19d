//! One suite over both trackers; tests that need write protection say so where it is not to be had.

mod chunks;
mod guest;
mod lazy;
mod model;
mod sizes;
mod tracking;

use std::process::Command;

/// For a test of a limit that is a whole process's: runs the calling test again, alone in a child that has this variable. True in the child.
#[track_caller]
fn in_a_process_of_its_own(variable: &str) -> bool {
    if std::env::var_os(variable).is_some() {
        return true;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--exact", &name, "--nocapture"]).env(variable, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    false
}
