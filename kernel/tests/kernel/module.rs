//! The module that is committed: its hash, and that a machine can be made of it.

use std::path::Path;

use kernel::MODULE;

#[test]
fn the_committed_module_has_the_committed_hash() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel.wasm.hash");
    let found = format!("{}\n", blake3::hash(MODULE).to_hex());
    if std::env::var_os("ABIDE_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, found, "kernel/build.sh, then ABIDE_BLESS=1 cargo test -p kernel, then commit both");
}

#[test]
fn no_folder_is_named_in_it() {
    let has = |word: &str| MODULE.windows(word.len()).any(|bytes| bytes == word.as_bytes());
    for word in [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), "/tmp/"] {
        assert!(!has(word), "{word}");
    }
    assert!(MODULE.starts_with(b"\0asm"));
}
