//! `abide fmt`: one layout for everybody's texts, and nobody's text lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tests::abide::{Ran, abide, finish, place};

const UNTIDY: &str = "(def (inc   n) (add n\n 1)) ; one more\n(inc 2)";
const TIDY: &str = "(def (inc n) (add n 1))  ; one more\n(inc 2)\n";

fn here(folder: &Path, args: &[&str]) -> Ran {
    finish(abide(args).current_dir(folder))
}

#[test]
fn a_text_gets_its_layout_and_keeps_everything_else() {
    let place = place();
    let [file, link] = ["a.abide", "link.abide"].map(|name| place.path().join(name));
    fs::write(&file, UNTIDY).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    let checked = here(place.path(), &["fmt", "--check", "link.abide"]);
    assert_eq!((checked.status.code(), checked.out.as_slice()), (Some(1), &b"link.abide\n"[..]), "{checked}");
    assert_eq!(fs::read_to_string(&file).unwrap(), UNTIDY);

    assert_eq!(here(place.path(), &["fmt", "link.abide"]).ok(), "link.abide\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), TIDY);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(here(place.path(), &["fmt", "a.abide"]).ok(), "");
    assert_eq!(here(place.path(), &["fmt", "--check", "a.abide"]).ok(), "");
    let names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn what_is_no_text_of_the_language_stays_as_it_is() {
    let place = place();
    let file = place.path().join("a.abide");
    fs::write(&file, "(def x\n  [1 2)").unwrap();
    let ran = here(place.path(), &["fmt", "a.abide"]);
    let said = "error: a.abide:2:7: `)` cannot close `[`\n2 |   [1 2)\n  |       ^\n  = expected: `]`\n";
    assert_eq!((ran.status.code(), ran.err.as_str()), (Some(1), said), "{ran}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "(def x\n  [1 2)");
    fs::write(&file, [0xff, 0xfe]).unwrap();
    let ran = here(place.path(), &["fmt", "a.abide"]);
    assert_eq!(ran.status.code(), Some(1), "{ran}");
    assert!(ran.err.starts_with("error: reading a.abide failed\n"), "{ran}");
}

/// Everybody's layout is the layout of what comes with Abide.
#[test]
fn the_base_library_is_laid_out() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lang/base");
    let names: Vec<String> = fs::read_dir(&base)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".abide"))
        .collect();
    assert!(names.len() > 5, "{names:?}");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(here(&base, &[&["fmt", "--check"], names.as_slice()].concat()).ok(), "");
}
