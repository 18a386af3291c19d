//! The `abide` command as it is, but for one thing: it is built with the feature `injection`, so that a test can end it at a commit.

use std::process::ExitCode;

fn main() -> ExitCode {
    boot::main()
}
