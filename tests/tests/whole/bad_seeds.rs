//! Bad input at boot: what is not a seed, what cannot be a machine, and machines that fail in their first step. Refused in words that name the
//! cause, with the exit code that belongs to it, and nothing is left behind.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use seed::image::{INTERFACE, Image, Limits, Memory, Program, State};
use seed::object::{Link, Objects, encode_blob};
use seed::{Domain, Id, LoadError, pack};
use tests::abide::{Ran, abide, binary, boot, copy_folder, example, finish, place, root, run, send};

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const ALLOC: &str = r#"(func (export "abide_alloc") (param i32) (result i32) (i32.const 4096))"#;
/// Answers every input with an empty list of outputs.
const STEP: &str =
    r#"(func (export "abide_step") (param i32 i32) (result i64) (i64.const 1)) (data (i32.const 0) "\80")"#;

/// Boots a machine from a file with these bytes. It must fail with this exit code, say all of this, and leave nothing.
#[track_caller]
fn refused(name: &str, bytes: &[u8], more: &[&str], code: i32, said: &[&str]) {
    let place = place();
    std::fs::write(place.path().join(name), bytes).unwrap();
    let ran = boot_at(place.path(), name, more);
    let err = ran.fails(code);
    assert!(err.starts_with("error: booting m failed\n  caused by: "), "{name}: {err}");
    for said in said {
        assert!(err.contains(said), "{name} is not refused for {said:?}:\n{err}");
    }
    assert_eq!(names(place.path()), [name], "something is left behind");
}

fn boot_at(folder: &Path, seed: &str, more: &[&str]) -> Ran {
    finish(abide(["boot", "m", seed].iter().chain(more)).current_dir(folder))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn module(parts: &[&str]) -> Vec<u8> {
    wat::parse_str(format!("(module {})", parts.join(" "))).unwrap()
}

#[test]
fn what_is_no_seed_is_refused() {
    let no_seed = "is neither a seed, nor a text of the language, nor a WebAssembly module\n  hint: a seed is";
    refused("empty.seed", b"", &[], 1, &[no_seed]);
    refused("notes.txt", b"put milk two", &[], 1, &["notes.txt is neither a seed"]);
    refused("half.wasm", b"\0as", &[], 1, &[no_seed]);
    refused("text.wat", b"(module (func", &[], 1, &["text.wat is not WebAssembly text", "text.wat:1:"]);
    refused("component.wasm", &wat::parse_str("(component)").unwrap(), &[], 1, &["it is a component"]);
    refused("later.wasm", b"\0asm\x02\0\0\0", &[], 1, &["its version is 0x2"]);
    refused("cut.wasm", &module(&[MEMORY, ALLOC, STEP])[..60], &[], 1, &["not a valid WebAssembly module, at offset"]);
    let place = place();
    let err = boot_at(place.path(), "none.wasm", &[]).fails(1);
    assert!(err.contains("reading none.wasm failed\n  caused by: No such file"), "{err}");
    assert!(names(place.path()).is_empty());
}

#[test]
fn a_module_that_cannot_be_a_machine_is_refused_by_the_name_of_what_it_uses() {
    let import = |import: &str| module(&[import, MEMORY, ALLOC, STEP]);
    let imports = "and a machine may import only the functions `blake3_256` from `abide`";
    let threads = "the module uses threads (atomics or shared memory), at offset";
    let references = "the module uses garbage-collected references (externref, anyref, structs, arrays), at offset";
    let cases: [(&str, Vec<u8>, &[&str]); 18] = [
        ("time", import(r#"(import "env" "now" (func))"#), &["the function `now` from `env`", imports]),
        (
            "wasi",
            import(r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#),
            &["`fd_write` from `wasi_", imports],
        ),
        ("memory", import(r#"(import "env" "memory" (memory 1))"#), &["the memory `memory` from `env`", imports]),
        ("global", import(r#"(import "env" "g" (global i32))"#), &["the global `g` from `env`", imports]),
        ("pure", import(r#"(import "abide" "blake3_256" (func))"#), &["its type is a function (i32, i32, i32) -> ()"]),
        ("shared", module(&[r#"(memory (export "memory") 1 1 shared)"#, ALLOC, STEP]), &[threads]),
        (
            "atomics",
            module(&[MEMORY, ALLOC, STEP, "(func (drop (i32.atomic.load (i32.const 0))))"]),
            &[threads, "in function 2"],
        ),
        ("struct", module(&["(type (struct (field i32)))", MEMORY, ALLOC, STEP]), &[references]),
        ("anyref", module(&["(global (mut anyref) (ref.null any))", MEMORY, ALLOC, STEP]), &[references]),
        ("externref", module(&["(table 1 externref)", MEMORY, ALLOC, STEP]), &[references]),
        ("memory64", module(&[r#"(memory (export "memory") i64 1)"#, ALLOC, STEP]), &["memory64"]),
        ("no memory", module(&["(memory 1)", ALLOC, STEP]), &["the module does not export `memory` (a memory)"]),
        (
            "no alloc",
            module(&[MEMORY, STEP]),
            &["the module does not export `abide_alloc` (a function (i32) -> (i32))"],
        ),
        (
            "no step",
            module(&[MEMORY, ALLOC]),
            &["the module does not export `abide_step` (a function (i32, i32) -> (i64))"],
        ),
        (
            "step",
            module(&[MEMORY, ALLOC, r#"(func (export "abide_step") (param i32) (result i32) (i32.const 0))"#]),
            &[
                "the module exports `abide_step` as a function (i32) -> (i32), and it must be a function (i32, i32) -> (i64)",
            ],
        ),
        (
            "memory is a function",
            module(&[r#"(memory 1) (func (export "memory"))"#, ALLOC, STEP]),
            &["the module exports `memory` as a function () -> (), and it must be a memory"],
        ),
        (
            "initialize",
            module(&[MEMORY, ALLOC, STEP, r#"(func (export "_initialize") (param i64))"#]),
            &["the module exports `_initialize` as a function (i64) -> ()"],
        ),
        (
            "reserved",
            module(&[MEMORY, ALLOC, STEP, r#"(func (export "abide:x"))"#]),
            &["begin with `abide:` are reserved"],
        ),
    ];
    for (name, wasm, said) in &cases {
        refused(&format!("{name}.wasm"), wasm, &[], 1, said);
    }
}

#[test]
fn a_first_step_that_fails_is_a_halt_and_leaves_no_machine() {
    let step = |body: &str| format!(r#"(func (export "abide_step") (param i32 i32) (result i64) {body})"#);
    let trap = "the machine halted: its boot was aborted: wasm trap: wasm `unreachable` instruction executed";
    let started = "(start $init) (func $init unreachable)";
    let initialized = r#"(func (export "_initialize") unreachable)"#;
    let cases: [(&str, Vec<u8>, &[&str], &str); 10] = [
        ("trap", module(&[MEMORY, ALLOC, &step("unreachable")]), &[], trap),
        ("start", module(&[MEMORY, ALLOC, STEP, started]), &[], trap),
        ("initialize", module(&[MEMORY, ALLOC, STEP, initialized]), &[], trap),
        (
            "alloc",
            module(&[MEMORY, r#"(func (export "abide_alloc") (param i32) (result i32) (i32.const 70000))"#, STEP]),
            &[],
            "its boot was aborted: ",
        ),
        (
            "loop",
            module(&[MEMORY, ALLOC, &step("(loop (br 0)) (i64.const 0)")]),
            &["--limit", "step_cpu_ms=50"],
            "its boot was aborted: the step took more than 50 ms of CPU time",
        ),
        (
            "recursion",
            module(&[MEMORY, ALLOC, &step("(call $f) (i64.const 0)"), "(func $f (call $f))"]),
            &[],
            "its boot was aborted: the step used more than 1048576 bytes of stack (in f)",
        ),
        ("nothing", module(&[MEMORY, ALLOC, &step("(i64.const 0)")]), &[], "its boot was aborted: malformed output"),
        ("zero", module(&[MEMORY, ALLOC, &step("(i64.const 1)")]), &[], "its boot was aborted: malformed output"),
        (
            "outside",
            module(&[MEMORY, ALLOC, &step("(i64.const 0xffff_0000_0000_0002)")]),
            &[],
            "its boot was aborted: ",
        ),
        ("data", module(&[MEMORY, ALLOC, STEP, r#"(data (i32.const 65536) "x")"#]), &[], "its boot was aborted: "),
    ];
    for (name, wasm, more, said) in &cases {
        refused(&format!("{name}.wasm"), wasm, more, 4, &[said]);
    }
}

#[test]
fn a_limit_or_a_grant_that_cannot_be_is_refused() {
    let wasm = module(&[MEMORY, ALLOC, STEP]);
    refused("m.wasm", &wasm, &["--limit", "step_cpu_ms=0"], 1, &["the limit step_cpu_ms cannot be 0: it is from "]);
    refused(
        "m.wasm",
        &wasm,
        &["--grant", "http"],
        1,
        &["the port http cannot be granted: the seed does not ask for it"],
    );
    let small = ["--limit", "memory_bytes=65536"];
    let large = module(&[r#"(memory (export "memory") 2)"#, ALLOC, STEP]);
    refused("large.wasm", &large, &small, 1, &["memory"]);

    let place = place();
    std::fs::write(place.path().join("m.wasm"), &wasm).unwrap();
    let save = ["save", "m.seed", "m.wasm", "--ask", "teleport"];
    let _ = finish(abide(save).current_dir(place.path())).ok();
    let err = boot_at(place.path(), "m.seed", &["--grant", "teleport"]).fails(1);
    assert!(err.contains("the port teleport cannot be granted: this version has no such port\n  hint: ports"), "{err}");
    for usage in [["--limit", "step_cpu_ms=soon"], ["--limit", "speed=1"], ["--limit", "step_cpu_ms"]] {
        let err = boot_at(place.path(), "m.seed", &usage).fails(2);
        assert!(err.contains("--limit"), "{err}");
    }
    // A seed has its terms; they are not passed over in silence.
    let err = boot_at(place.path(), "m.seed", &["--limit", "step_cpu_ms=50"]).fails(1);
    assert!(err.contains("m.seed has its own limits already"), "{err}");
    let again = ["save", "again.seed", "m.seed", "--ask", "console"];
    let err = finish(abide(again).current_dir(place.path())).fails(1);
    assert_eq!(err, "error: m.seed has its own list of ports to ask for already\n");
    assert_eq!(names(place.path()), ["m.seed", "m.wasm"]);
    // What it asks for and is not given it can live without.
    let _ = boot_at(place.path(), "m.seed", &[]).ok();
}

#[test]
fn a_seed_that_was_changed_is_refused() {
    let place = place();
    let file = place.path().join("counter.seed");
    let counter = example("counter/counter.wat");
    let _ = run(["save".as_ref(), file.as_os_str(), counter.as_os_str()]).ok();
    let seed = std::fs::read(&file).unwrap();
    let lengths = (0..seed.len()).step_by(seed.len() / 12).chain([1, 7, 8, 9, seed.len() - 1]);
    for length in lengths {
        refused("cut.seed", &seed[..length], &[], 1, &["seed"]);
    }
    for at in (0..seed.len()).step_by(seed.len() / 25) {
        let mut changed = seed.clone();
        changed[at] ^= 0x10;
        refused("changed.seed", &changed, &[], 1, &["seed"]);
    }
    refused("longer.seed", &[&seed[..], b"x"].concat(), &[], 1, &["seed"]);
    std::fs::write(place.path().join("cut.seed"), &seed[..seed.len() - 1]).unwrap();
    let err = finish(abide(["save", "again.seed", "cut.seed"]).current_dir(place.path())).fails(1);
    assert!(err.starts_with("error: cut.seed cannot be read as a seed\n  caused by: "), "{err}");
    assert_eq!(names(place.path()), ["counter.seed", "cut.seed"]);
}

/// Objects to make a seed of.
#[derive(Default)]
struct Shelf(HashMap<Link, Vec<u8>>);

impl Shelf {
    fn keep(&mut self, bytes: Vec<u8>) -> Id {
        let id = Id::of(Domain::Object, &bytes);
        self.0.insert((Domain::Object, id), bytes);
        id
    }

    fn program(&mut self, wasm: &[u8]) -> Program {
        let (code, genesis) = (self.keep(encode_blob(wasm)), self.keep(encode_blob(b"")));
        Program { interface: INTERFACE, code, genesis, limits: Limits::default(), asks: Vec::new() }
    }

    fn seed(mut self, root: Vec<u8>) -> Vec<u8> {
        let root = (Domain::Object, self.keep(root));
        pack::write(root, &self, &|_| false, Vec::new()).unwrap()
    }
}

impl Objects for Shelf {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        self.0.get(&(domain, *id)).cloned().ok_or(LoadError::Missing { domain, id: *id })
    }
}

/// A seed may come from anybody. One that is whole and yet no machine is bad input, not damage of a machine: exit 1.
#[test]
fn a_whole_seed_of_something_else_is_refused() {
    let wasm = module(&[MEMORY, ALLOC, STEP]);
    let image = |change: &dyn Fn(&mut Shelf, &mut Image)| {
        let mut shelf = Shelf::default();
        let mut image = shelf.program(&wasm).to_image(Vec::new());
        change(&mut shelf, &mut image);
        shelf.seed(image.encode())
    };
    refused("blob.seed", &Shelf::default().seed(encode_blob(b"hello")), &[], 1, &["seed"]);
    let mut shelf = Shelf::default();
    let program = Program { interface: INTERFACE + 1, ..shelf.program(&wasm) };
    refused("interface.seed", &shelf.seed(program.encode()), &[], 1, &["interface"]);
    let mut shelf = Shelf::default();
    let program = shelf.program(b"no module");
    refused("code.seed", &shelf.seed(program.encode()), &[], 1, &["not a WebAssembly module"]);
    refused("none.seed", &image(&|_, image| image.processes.clear()), &[], 1, &["processes"]);
    let state = |memories, globals| Some(State { memories, globals, tables: Vec::new() });
    let one = Memory { pages: 16, root: None };
    refused(
        "memories.seed",
        &image(&|_, image| image.processes[0].state = state(vec![one, one], vec![])),
        &[],
        1,
        &["memor"],
    );
    let huge = Memory { pages: 1 << 20, root: None };
    refused("huge.seed", &image(&|_, image| image.processes[0].state = state(vec![huge], vec![])), &[], 1, &["memor"]);
    let globals = vec![seed::image::Global::I32(1)];
    refused(
        "globals.seed",
        &image(&|_, image| image.processes[0].state = state(vec![one], globals.clone())),
        &[],
        1,
        &["global"],
    );
}

#[test]
fn what_is_there_already_is_left_alone() {
    let place = place();
    let machine = place.path().join("notes");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    assert_eq!(send(&machine, "put a one"), "ok");
    let (before, kept) = (root(&machine), place.path().join("kept"));
    copy_folder(&machine, &kept);
    std::fs::write(place.path().join("file"), "precious").unwrap();
    std::fs::create_dir(place.path().join("folder")).unwrap();
    for there in ["notes", "file", "folder"] {
        let seed = example("counter/counter.wat");
        let err = run(["boot".as_ref(), place.path().join(there).as_os_str(), seed.as_os_str()]).fails(1);
        assert!(err.contains(&format!("{there} exists already")), "{err}");
    }
    assert_eq!(names(place.path()), ["file", "folder", "kept", "notes"]);
    assert_eq!(std::fs::read_to_string(place.path().join("file")).unwrap(), "precious");
    assert!(names(&place.path().join("folder")).is_empty());
    for name in ["abide", "data.mdb", "head", "lock"] {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&machine) == read(&kept), "{name} has changed");
    }
    assert_eq!(root(&machine), before);
    assert_eq!(send(&machine, "list"), "a one");
}

/// A few hundred kilobytes that a compiler works on for seconds, which here is longer than it may.
#[test]
fn a_module_that_is_too_much_for_the_compiler_is_refused_in_time() {
    const BLOCKS: usize = 5_000;
    const LOCALS: usize = 1_000;
    let place = place();
    let mut text = format!(
        r#"(module (memory (export "memory") 1) (func (export "abide_alloc") (param i32) (result i32) (i32.const 64))
        (func (export "abide_step") (param i32 i32) (result i64) (local{})"#,
        " i32".repeat(LOCALS)
    );
    let local = |number: usize| format!("(local.get {})", 2 + number % LOCALS);
    for block in 0..BLOCKS {
        let [a, b, c, d] = [1, 7, 5, 11].map(|factor| local(block * factor));
        let to = 2 + block * 3 % LOCALS;
        write!(text, "(block (br_if 0 (i32.lt_u {a} {b})) (local.set {to} (i32.add {c} (i32.load {d}))))").unwrap();
    }
    text.push_str("(i64.const 0)))");
    let seed = place.path().join("bomb.wat");
    std::fs::write(&seed, text).unwrap();
    let machine = place.path().join("m");
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -St 1; exec "$0" boot "$1" "$2""#]).arg(binary()).args([&machine, &seed]);
    let ran = finish(limited.env("ABIDE_CACHE", place.path().join("cache")));
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(
        ran.err.contains("compiling the module failed\n  caused by: it takes more CPU time than it may"),
        "{ran:?}"
    );
    assert!(!machine.exists());
}
