//! Machines with files: folders imported and exported through kills, links that lead out, folders that vanish, lines of a log, and timers that go on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seed::object::encode_blob;
use seed::{Domain, Id};
use tests::abide::{Life, Talk, boot, place, place_in_memory, run, send, status, verify};
use tests::web::wait_until;

/// Does with its ports what lines tell it, and tells what came of request 1.
const PUPPET: &str = r#"
(def ports ["files-read" "files-write" "log"])
(def start {"said" "0" "ticks" []})
(def (nat-of t) (or-else 0 (parse-nat t)))
(def (hex t) (or-else "" (parse-hex (bytes-drop 1 t))))
(def (path-of t) (bytes-drop 1 t))
(def (do-line line)
  (case (words line)
    ["raw" port payload] [(asks 1 (nat-of port) (hex payload))]
    ["list" port path after] [(asks-list 1 (nat-of port) (path-of path) (path-of after))]
    ["import" port path] [(asks-import 1 (nat-of port) (path-of path))]
    ["read" port path id from most] [(asks-read 1 (nat-of port) (path-of path) (hex id) (nat-of from) (nat-of most))]
    ["write" port path t] [(asks-write 1 (nat-of port) (path-of path) (path-of t))]
    ["folder" port path] [(asks-folder 1 (nat-of port) (path-of path))]
    ["remove" port path] [(asks-remove 1 (nat-of port) (path-of path))]
    ["tell-write" port path t] [(writes-file (nat-of port) (path-of path) (path-of t))]
    ["tell" port payload] [(tells (nat-of port) (hex payload))]
    ["log" port t] [(logs (nat-of port) t)]
    ["ask-log" port t] [(asks-log 1 (nat-of port) t)]
    ["every" first every] [(asks-every 2 (nat-of first) (nat-of every))]
    ["cancel"] [(cancels 2)]))
(def (main self input)
  (case input
    ["message" 0 _ reply "what"] [self (replies reply (at "said" self))]
    ["message" 0 _ reply "ticks"]
      [self (replies reply (text (map (fn (t) [t " "]) (at "ticks" self))))]
    ["message" 0 _ reply lines-told]
      [(insert "said" "0" self) (weld (cat (map do-line (filter bytes-len (lines lines-told)))) (replies reply ""))]
    ["answer" 1 _ payload] [(insert "said" (text ["answer " (show-hex payload)]) self) []]
    ["answer" 2 _ payload] [(insert "ticks" (weld (at "ticks" self) [(payload-nat payload)]) self) []]
    ["broken" n code why] [(insert "said" (text ["broken " code " " why]) self) []]
    _ [self []]))
"#;

struct Puppet {
    machine: PathBuf,
    life: Option<Life>,
    talk: Option<Talk>,
}

impl Puppet {
    fn booted(folder: &Path, grants: &[&str]) -> Self {
        let (machine, program) = (folder.join("m"), folder.join("puppet.abide"));
        fs::write(&program, PUPPET).unwrap();
        let grants: Vec<&str> = grants.iter().flat_map(|grant| ["--grant", grant]).collect();
        boot(&machine, &program, &grants);
        let mut puppet = Self { machine, life: None, talk: None };
        puppet.start();
        puppet
    }

    fn start(&mut self) {
        let mut life = Life::start(&self.machine);
        self.talk = Some(life.talk(&self.machine));
        self.life = Some(life);
    }

    fn kill(&mut self) {
        self.talk = None;
        let _ = self.life.take().unwrap().kill();
    }

    fn end(&mut self) {
        self.talk = None;
        let _ = self.life.take().unwrap().stop().0.ok();
    }

    fn say(&mut self, line: &str) -> String {
        self.talk.as_mut().unwrap().ask(line)
    }

    /// What comes of it.
    fn comes_of(&mut self, line: &str) -> String {
        assert_eq!(self.say(line), "");
        let mut said = String::new();
        wait_until(|| {
            said = self.say("what");
            said != "0"
        });
        said
    }

    #[track_caller]
    fn answer(&mut self, line: &str) -> Vec<u8> {
        let said = self.comes_of(line);
        let digits = said.strip_prefix("answer ").unwrap_or_else(|| panic!("{line}: {said}"));
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    /// The id of what a file holds, and its size.
    fn import(&mut self, path: &str) -> (Id, u64) {
        let payload = self.answer(&format!("import {READ} x{path}"));
        let mut reader = seed::cbor::Reader::new(&payload);
        reader.array_of(2).unwrap();
        (Id::read(&mut reader).unwrap(), reader.uint().unwrap())
    }

    fn stop(mut self) {
        self.end();
        assert_eq!(status(&self.machine)["undelivered_effects"], 0);
        verify(&self.machine);
    }
}

/// The first port that is granted, and the next.
const READ: u64 = 4;
const WRITE: u64 = 5;

fn grant(kind: &str, path: &Path) -> String {
    format!("{kind}:{}", path.display())
}

fn id_of(bytes: &[u8]) -> Id {
    Id::of(Domain::Object, &encode_blob(bytes))
}

/// Entries of a list as text, and whether there are more.
fn listed(payload: &[u8]) -> (Vec<(String, u64, u64)>, bool) {
    let mut reader = seed::cbor::Reader::new(payload);
    reader.array_of(2).unwrap();
    let count = reader.array().unwrap();
    let mut entries = Vec::new();
    for _ in 0..count {
        reader.array_of(4).unwrap();
        let name = String::from_utf8(reader.bytes().unwrap().to_vec()).unwrap();
        entries.push((name, reader.uint().unwrap(), reader.uint().unwrap()));
        let changed = reader.uint().unwrap();
        assert!(changed > 1_600_000_000_000_000_000, "{changed}");
    }
    let has_more = reader.uint().unwrap() == 1;
    reader.end().unwrap();
    (entries, has_more)
}

/// A folder `site`, and a machine that may read it and write `out`.
fn with_folders(place: &Path) -> Puppet {
    for name in ["site", "out"] {
        fs::create_dir(place.join(name)).unwrap();
    }
    Puppet::booted(place, &[&grant("files-read", &place.join("site")), &grant("files-write", &place.join("out"))])
}

#[test]
fn folders_are_listed_and_files_read_as_what_they_are() {
    let place = place_in_memory();
    let mut puppet = with_folders(place.path());
    let site = place.path().join("site");
    fs::create_dir(site.join("sub")).unwrap();
    fs::write(site.join("a"), "hello").unwrap();
    fs::write(site.join("sub/b"), "").unwrap();
    fs::write(site.join(".abide-0123"), "half").unwrap();
    symlink("/etc/passwd", site.join("link")).unwrap();
    let entry = |name: &str, kind, size| (name.to_owned(), kind, size);
    let found = listed(&puppet.answer(&format!("list {READ} x x")));
    assert_eq!(found, (vec![entry("a", 0, 5), entry("link", 2, 0), entry("sub", 1, 0)], false));
    assert_eq!(listed(&puppet.answer(&format!("list {READ} x xlink"))).0, [entry("sub", 1, 0)]);
    assert_eq!(listed(&puppet.answer(&format!("list {READ} xsub x"))).0, [entry("b", 0, 0)]);
    // What it holds has the id that it would have in a store.
    assert_eq!(puppet.import("a"), (id_of(b"hello"), 5));
    assert_eq!(puppet.import("sub/b"), (id_of(b""), 0));
    let id = format!("x{:x}", id_of(b"hello"));
    assert_eq!(puppet.answer(&format!("read {READ} xa {id} 1 3")), b"ell");
    assert_eq!(puppet.answer(&format!("read {READ} xa {id} 4 1048576")), b"o");
    assert_eq!(puppet.answer(&format!("read {READ} xa {id} 99 1")), b"");
    // Changed, it is no longer what was asked for, and neither half of it is given.
    fs::write(site.join("a"), "HELLO").unwrap();
    let changed = puppet.comes_of(&format!("read {READ} xa {id} 0 3"));
    assert!(changed.starts_with("broken 7 \"a\" does not hold "), "{changed}");
    // Large ones are read in parts, and are hashed once for all of them as long as they are left alone.
    let large: Vec<u8> = (0..5_000_000_u32).map(|at| (at / 1000).to_le_bytes()[0]).collect();
    fs::write(site.join("large"), &large).unwrap();
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(site.join("large")).unwrap().set_times(times).unwrap();
    for settled in [false, true] {
        if settled {
            thread::sleep(Duration::from_millis(3200));
        }
        let (id, size) = puppet.import("large");
        assert_eq!((id, size), (id_of(&large), 5_000_000));
        for (from, most) in [(0, 1000), (4_999_000, 1_048_576), (999_999, 65_536)] {
            let read = puppet.answer(&format!("read {READ} xlarge x{id:x} {from} {most}"));
            assert!(read == large[from..(from + most).min(large.len())], "{settled} {from}");
        }
    }
    let id = format!("x{:x}", id_of(&large));
    fs::write(site.join("large"), &large[1..]).unwrap();
    let changed = puppet.comes_of(&format!("read {READ} xlarge {id} 0 3"));
    assert!(changed.starts_with("broken 7 "), "{changed}");
    // More names than one answer has.
    fs::create_dir(site.join("many")).unwrap();
    for n in 0..1500 {
        fs::write(site.join(format!("many/{n:04}")), "").unwrap();
    }
    let (first, has_more) = listed(&puppet.answer(&format!("list {READ} xmany x")));
    assert_eq!((first.len(), has_more, first[999].0.as_str()), (1000, true, "0999"));
    let (rest, has_more) = listed(&puppet.answer(&format!("list {READ} xmany x0999")));
    assert_eq!((rest.len(), has_more, rest[0].0.as_str()), (500, false, "1000"));
    puppet.stop();
}

#[test]
fn nothing_leads_out_of_a_granted_folder_and_nothing_special_is_opened() {
    let place = place_in_memory();
    let mut puppet = with_folders(place.path());
    let (site, out, secret) = (place.path().join("site"), place.path().join("out"), place.path().join("secret"));
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    for folder in [&site, &out] {
        symlink(&secret, folder.join("way")).unwrap();
        symlink("../secret/key", folder.join("key")).unwrap();
        symlink(folder, folder.join("inside")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap();
    }
    let fails = |puppet: &mut Puppet, line: String| {
        let said = puppet.comes_of(&line);
        assert!(said.starts_with("broken 8 "), "{line}: {said}");
    };
    let id = id_of(b"secret");
    for path in ["way/key", "key", "inside/key", "pipe", "way", "sub/none", "none"] {
        fails(&mut puppet, format!("import {READ} x{path}"));
        fails(&mut puppet, format!("read {READ} x{path} x{id:x} 0 9"));
    }
    fails(&mut puppet, format!("list {READ} xway x"));
    for path in ["way/new", "key", "pipe", "inside/new", "pipe/new"] {
        fails(&mut puppet, format!("write {WRITE} x{path} xmine"));
    }
    fails(&mut puppet, format!("folder {WRITE} xway/new"));
    fails(&mut puppet, format!("remove {WRITE} xway/key"));
    // The link itself is in the folder, and can go.
    assert_eq!(puppet.comes_of(&format!("remove {WRITE} xkey")), "answer ");
    for path in ["../secret/key", "..", "/etc/passwd", "sub/../../secret/key", "./a", "a//b", "a/"] {
        for line in [format!("import {READ} x{path}"), format!("write {WRITE} x{path} xmine")] {
            let said = puppet.comes_of(&line);
            assert!(said.starts_with("broken 6 a port of files takes [0, path, after], "), "{line}: {said}");
        }
    }
    // What one grant does not give the other does not lend.
    assert!(puppet.comes_of(&format!("write {READ} xa xmine")).starts_with("broken 1 "));
    assert!(puppet.comes_of(&format!("import {WRITE} xa")).starts_with("broken 1 "));
    assert!(puppet.comes_of(&format!("raw {READ} x80")).starts_with("broken 6 "));
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    assert!(!site.join("a").exists());
    puppet.stop();
}

#[test]
fn files_are_written_whole_with_their_folders_and_removed() {
    let place = place_in_memory();
    let mut puppet = with_folders(place.path());
    let out = place.path().join("out");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(puppet.comes_of(&format!("write {WRITE} xa/b/c xone")), "answer ");
    assert_eq!(read("a/b/c"), "one");
    // Who may use a file is as it was.
    fs::set_permissions(out.join("a/b/c"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(puppet.comes_of(&format!("write {WRITE} xa/b/c xtwo")), "answer ");
    assert_eq!(read("a/b/c"), "two");
    assert_eq!(fs::metadata(out.join("a/b/c")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(puppet.comes_of(&format!("folder {WRITE} xd/e")), "answer ");
    assert_eq!(puppet.comes_of(&format!("folder {WRITE} xd/e")), "answer ");
    assert!(out.join("d/e").is_dir());
    for path in ["d/e", "a"] {
        assert!(puppet.comes_of(&format!("write {WRITE} x{path} xno")).starts_with("broken 8 "), "{path}");
    }
    assert!(puppet.comes_of(&format!("remove {WRITE} xa")).starts_with("broken 8 "), "it is not empty");
    for path in ["a/b/c", "a/b/c", "d/e", "none/at/all"] {
        assert_eq!(puppet.comes_of(&format!("remove {WRITE} x{path}")), "answer ", "{path}");
    }
    // Effects in the order in which they came.
    let lines: String = (0..100).map(|n| format!("tell-write {WRITE} xlast x{n}\n")).collect();
    assert_eq!(puppet.say(&lines), "");
    wait_until(|| fs::read_to_string(out.join("last")).is_ok_and(|text| text == "99"));
    // What nobody would hear of, and what is none, is dropped.
    assert_eq!(puppet.say(&format!("tell {WRITE} x80\ntell {WRITE} x82014161\ntell {READ} x82014161")), "");
    assert_eq!(
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).filter(|name| name != "a").count(),
        2
    );
    // Answered after all that came before it.
    assert_eq!(puppet.comes_of(&format!("folder {WRITE} xlast-of-all")), "answer ");
    puppet.stop();
}

/// A folder of files is imported by a machine that is killed again and again; what it has in the end is what the folder has.
#[test]
fn a_folder_is_imported_through_kills() {
    let place = place_in_memory();
    let (site, program) = (place.path().join("site"), place.path().join("importer.abide"));
    fs::create_dir(&site).unwrap();
    let mut expected = BTreeMap::new();
    for n in 0..40_u8 {
        let bytes = vec![b'a' + n % 26; usize::from(n) * 5000];
        fs::write(site.join(format!("{n:02}")), &bytes).unwrap();
        expected.insert(format!("{n:02}"), bytes);
    }
    fs::write(&program, IMPORTER).unwrap();
    let machine = place.path().join("m");
    boot(&machine, &program, &["--grant", &grant("files-read", &site)]);
    let mut life = Life::start(&machine);
    assert_eq!(life.talk(&machine).ask("go"), "");
    for round in 0..12_u64 {
        thread::sleep(Duration::from_millis(20 + 17 * round));
        let _ = life.kill();
        life = Life::start(&machine);
    }
    let mut talk = life.talk(&machine);
    wait_until(|| talk.ask("count") == "40");
    for (name, bytes) in &expected {
        assert_eq!(talk.ask(&format!("id {name}")), format!("{:x}", id_of(bytes)));
        assert!(talk.ask(&format!("content {name}")).as_bytes() == bytes, "{name}");
    }
    let _ = life.stop().0.ok();
    verify(&machine);
}

/// Lists a folder, then imports its files one after another, each in parts of 64 KiB.
const IMPORTER: &str = r#"
(def ports ["files-read"])
(def start {"todo" [] "files" {} "id" "" "size" 0 "parts" []})
(def part 65536)
(def (next self)
  (case (at "todo" self) [] [self []] names [self [(asks-import 2 4 (first names))]]))
(def (read-on self)
  (if (lth (bytes-len (at "bytes" self)) (at "size" self))
    [self [(asks-read 3 4 (first (at "todo" self)) (at "id" self) (bytes-len (at "bytes" self)) part)]]
    (next (insert "todo" (drop 1 (at "todo" self))
            (insert "files" (insert (first (at "todo" self)) [(at "id" self) (at "bytes" self)] (at "files" self)) self)))))
(def (file name self) (at name (at "files" self)))
(def (main self input)
  (case input
    ["message" 0 _ reply line]
      (case (words line)
        ["go"] [self [(asks-list 1 4 "" "") (answers reply "")]]
        ["count"] [self (replies reply (text (len (entries (at "files" self)))))]
        ["id" name] [self (replies reply (show-hex (idx 0 (file name self))))]
        ["content" name] [self (replies reply (idx 1 (file name self)))])
    ["answer" 1 _ payload]
      (case (read-list payload) [found _] (next (insert "todo" (map (idx 0) found) self)))
    ["answer" 2 _ payload]
      (case (read-import payload) [id size] (read-on (insert "id" id (insert "size" size (insert "bytes" "" self)))))
    ["answer" 3 _ payload] (read-on (insert "bytes" (bytes-weld (at "bytes" self) payload) self))
    _ [self []]))
"#;

/// Whatever is under a name is whole, at any moment, also where the process is killed while it writes; and what was last written is what stays.
#[test]
fn exports_through_kills_are_whole_and_end_as_they_were_told() {
    let place = place();
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    let program = place.path().join("exporter.abide");
    fs::write(&program, EXPORTER).unwrap();
    let machine = place.path().join("m");
    boot(&machine, &program, &["--grant", &grant("files-write", &out)]);
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (out, is_over) = (out.clone(), Arc::clone(&is_over));
        thread::spawn(move || {
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                for entry in fs::read_dir(&out).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    if !name.starts_with(".abide-")
                        && let Ok(bytes) = fs::read(out.join(&name))
                    {
                        assert!(bytes.len() == 1 << 18 && bytes.iter().all(|byte| *byte == bytes[0]), "{name}");
                        seen += 1;
                    }
                }
            }
            seen
        })
    };
    let mut life = Life::start(&machine);
    assert_eq!(life.talk(&machine).ask("go"), "");
    for round in 0..10_u64 {
        thread::sleep(Duration::from_millis(30 + 23 * round));
        let _ = life.kill();
        life = Life::start(&machine);
    }
    let mut talk = life.talk(&machine);
    wait_until(|| talk.ask("done") == "30");
    let first = |name: &str| fs::read(out.join(name)).map_or(0, |bytes| bytes[0]);
    wait_until(|| {
        [("asked", 30), ("told-0", 28), ("told-1", 29), ("told-2", 30)].iter().all(|(name, n)| first(name) == *n)
    });
    is_over.store(true, Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0);
    thread::sleep(Duration::from_millis(200));
    // Nothing is left of what was begun and killed.
    assert_eq!(fs::read_dir(&out).unwrap().count(), 4);
    let _ = life.stop().0.ok();
    assert_eq!(status(&machine)["undelivered_effects"], 0);
    verify(&machine);
}

/// Writes a file again and again, by requests one after another, and three others by effects.
const EXPORTER: &str = r#"
(def ports ["files-write"])
(def start 0)
(def (content n) (fold (fn (b _) (bytes-weld b b)) (sized-bytes 1 n) (range 18)))
(def (write-as n)
  [n [(asks-write 1 4 "asked" (content n)) (writes-file 4 (text ["told-" (mod (sub n 1) 3)]) (content n))]])
(def (go n) (if (lth n 30) (write-as (inc n)) [31 []]))
(def (main self input)
  (case input
    ["message" 0 _ reply "go"] (case (go self) [after outputs] [after (weld outputs (replies reply ""))])
    ["message" 0 _ reply _] [self (replies reply (if (lth 30 self) "30" "0"))]
    ["answer" 1 _ _] (go self)
    _ [self []]))
"#;

#[test]
fn a_folder_that_is_not_there_is_an_error_at_the_start_and_a_break_later() {
    let place = place_in_memory();
    let site = place.path().join("site");
    let mut puppet = with_folders(place.path());
    fs::write(site.join("a"), "hello").unwrap();
    assert_eq!(puppet.import("a"), (id_of(b"hello"), 5));
    fs::rename(&site, place.path().join("away")).unwrap();
    let gone = puppet.comes_of(&format!("import {READ} xa"));
    assert!(gone.starts_with("broken 8 opening \"a\" failed: No such file"), "{gone}");
    // It is back, under its name.
    fs::create_dir(&site).unwrap();
    fs::write(site.join("a"), "other").unwrap();
    assert_eq!(puppet.import("a"), (id_of(b"other"), 5));
    fs::rename(&site, place.path().join("away again")).unwrap();
    puppet.end();
    let machine = puppet.machine.to_str().unwrap();
    let name = grant("files-read", &site);
    for command in [vec!["start", machine], vec!["send", machine, "what"]] {
        let error = run(command).fails(1);
        assert!(
            error.contains(&format!("the port {name} cannot be opened")) && error.contains("No such file"),
            "{error}"
        );
        let hint =
            format!("see to it that {} can be used, then do this again; abide revoke {machine} {name}", site.display());
        assert!(error.contains(&hint), "{error}");
    }
    assert!(run(["grant", machine, &name]).ok().is_empty(), "granted already");
    let _ = run(["revoke", machine, &name]).ok();
    puppet.start();
    assert!(puppet.comes_of(&format!("import {READ} xa")).starts_with("broken 4 "));
    // Granted to a running machine, a folder has to be there.
    let machine = puppet.machine.to_str().unwrap();
    let error = run(["grant", machine, &name]).fails(1);
    assert!(error.contains("cannot be opened") && error.contains("see to it that"), "{error}");
    fs::create_dir(&site).unwrap();
    let _ = run(["grant", machine, &name]).ok();
    assert_eq!(listed(&puppet.answer("list 6 x x")), (vec![], false));
    fs::remove_dir(&site).unwrap();
    fs::write(&site, "a file").unwrap();
    assert!(puppet.comes_of("list 6 x x").starts_with("broken 8 "));
    puppet.stop();
}

/// A seed says which folders it may be granted, and a person stays within that.
#[test]
fn a_seed_asks_for_folders_and_is_granted_those_or_less() {
    let place = place_in_memory();
    let (site, program) = (place.path().join("site"), place.path().join("asks.abide"));
    fs::create_dir_all(site.join("sub")).unwrap();
    let asks = |ask: &str| {
        fs::write(&program, format!("(def ports [\"{ask}\"])\n(def start 0)\n(def (main self input) [self []])"))
            .unwrap()
    };
    let try_grant = |grant: &str| {
        let machine = place.path().join("m");
        let _ = fs::remove_dir_all(&machine);
        let mut command = tests::abide::abide(["boot".as_ref(), machine.as_os_str(), program.as_os_str()]);
        tests::abide::finish(command.args(["--grant", grant]).current_dir(place.path()))
    };
    asks(&grant("files-read", &site));
    for some in [grant("files-read", &site), grant("files-read", &site.join("sub")), "files-read:site/sub".to_owned()] {
        let _ = try_grant(&some).ok();
        let granted = status(&place.path().join("m"))["grants"].as_array().unwrap().last().unwrap()["name"].clone();
        assert!(granted.as_str().unwrap().starts_with(&grant("files-read", &site)), "{granted}");
    }
    for more in [
        grant("files-write", &site),
        grant("files-read", place.path()),
        format!("{}x", grant("files-read", &site)),
        "files-read:site/../other".to_owned(),
    ] {
        assert!(try_grant(&more).fails(1).contains("the seed does not ask for it"), "{more}");
    }
    asks("log");
    let _ = try_grant("log:site/a.log").ok();
    assert!(try_grant("files-read:site").fails(1).contains("the seed does not ask for it"));
    for none in ["log", "log:"] {
        assert!(try_grant(none).fails(1).contains("this version has no such port"), "{none}");
    }
}

#[test]
fn lines_of_a_log_are_on_disk_when_that_is_said_and_outlive_kills() {
    let place = place();
    let file = place.path().join("a.log");
    let mut puppet = Puppet::booted(place.path(), &[&grant("log", &file)]);
    let texts = || {
        let log = fs::read_to_string(&file).unwrap();
        assert!(log.ends_with('\n') || log.is_empty(), "{log}");
        log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(puppet.comes_of("ask-log 4 one"), "answer ");
    assert_eq!(texts(), ["one"]);
    let line = fs::read_to_string(&file).unwrap();
    assert!(line.starts_with("20") && line.as_bytes()[23] == b'Z' && line.as_bytes()[10] == b'T', "{line}");
    assert_eq!(puppet.say("log 4 two\nlog 4 \x1b[2J"), "");
    wait_until(|| texts().len() == 3);
    assert_eq!(texts()[1..], ["two", "\\u{1b}[2J"]);
    assert_eq!(
        puppet.comes_of(&format!("raw 4 x{}", "61".repeat(65_537))),
        "broken 5 a line of a log has 65536 bytes at most"
    );
    // Every line is there, in its order, however often the host died; one whose delivery was not recorded may be there twice.
    for round in 0..8 {
        let lines: String = (0..50).map(|n| format!("log 4 {}\n", round * 50 + n)).collect();
        assert_eq!(puppet.say(&lines), "");
        puppet.kill();
        if round == 3 {
            // Half a line, as a host that loses power leaves it.
            let mut torn = fs::read(&file).unwrap();
            torn.extend_from_slice(b"2026-11-22T00:00:00.000Z torn");
            fs::write(&file, torn).unwrap();
        }
        puppet.start();
    }
    wait_until(|| texts().last().is_some_and(|text| text == "399"));
    let mut texts = texts().split_off(3);
    texts.retain(|text| text != "torn");
    let mut numbers: Vec<u64> = texts.iter().map(|text| text.parse().unwrap()).collect();
    let mut first_seen: Vec<u64> = Vec::new();
    numbers.iter().for_each(|number| {
        if !first_seen.contains(number) {
            first_seen.push(*number);
        }
    });
    assert!(first_seen.is_sorted());
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..400).collect::<Vec<u64>>());
    assert_eq!(puppet.comes_of("ask-log 4 end"), "answer ");
    puppet.end();
    assert_eq!(status(&puppet.machine)["undelivered_effects"], 0);
    verify(&puppet.machine);
    // A log that cannot be opened keeps the machine from starting.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = run(["start".as_ref(), puppet.machine.as_os_str()]).fails(1);
    assert!(error.contains(&format!("the port {} cannot be opened", grant("log", &file))), "{error}");
    assert!(error.contains(&format!("see to it that {} can be used", file.display())), "{error}");
}

fn ticks(puppet: &mut Puppet) -> Vec<u64> {
    puppet.say("ticks").split_whitespace().map(|tick| tick.parse().unwrap()).collect()
}

/// A timer goes on after a kill; what it missed meanwhile is one tick; it keeps to its times.
#[test]
fn a_repeating_timer_goes_on_through_kills() {
    const EVERY: u64 = 200_000_000;
    let place = place_in_memory();
    let mut puppet = Puppet::booted(place.path(), &[]);
    let first = now() / EVERY * EVERY + 2 * EVERY;
    assert_eq!(puppet.say(&format!("every {first} {EVERY}")), "");
    wait_until(|| ticks(&mut puppet).len() >= 3);
    let heard = ticks(&mut puppet);
    assert!(heard[0] >= first && heard.windows(2).all(|pair| pair[0] / EVERY < pair[1] / EVERY), "{heard:?}");
    for _ in 0..3 {
        puppet.kill();
        thread::sleep(Duration::from_nanos(3 * EVERY));
        let down_until = now();
        puppet.start();
        let before = ticks(&mut puppet).iter().filter(|tick| **tick < down_until).count();
        wait_until(|| ticks(&mut puppet).len() >= before + 3);
        let heard = ticks(&mut puppet);
        // One at once for those that were missed, and then each in its turn.
        assert!(heard[before..].windows(2).all(|pair| pair[0] / EVERY < pair[1] / EVERY), "{heard:?}");
        assert!(heard.iter().all(|tick| *tick >= first), "{heard:?}");
    }
    // Cancelled, it is over; another is another.
    assert_eq!(puppet.say("cancel"), "");
    let count = ticks(&mut puppet).len();
    thread::sleep(Duration::from_nanos(2 * EVERY));
    assert_eq!(ticks(&mut puppet).len(), count);
    for wrong in ["every 0 0", "every 0 999999"] {
        assert_eq!(puppet.say(wrong), "");
        wait_until(|| puppet.say("what").starts_with("broken 6 the clock takes [0], [1, time] or [2, first, every]: "));
    }
    puppet.stop();
}

/// A timer of a millisecond, of a machine that takes longer than that for each tick, has one tick under way, and others come through.
#[test]
fn a_fast_timer_floods_nobody() {
    let place = place_in_memory();
    let program = place.path().join("slow.abide");
    fs::write(
        &program,
        "(def start 0)\n(def (spin n) (if n (spin (sub n 1)) 0))\n(def (main self input)\n  (case input\n    [\"boot\" _] [self [(asks-every 1 0 millisecond)]]\n    [\"answer\" 1 _ _] (seq (spin 300000) [(inc self) []])\n    [\"message\" _ _ reply _] [self (replies reply (text self))]\n    _ [self []]))",
    )
    .unwrap();
    let machine = place.path().join("m");
    boot(&machine, &program, &[]);
    let mut life = Life::start(&machine);
    let mut talk = life.talk(&machine);
    wait_until(|| talk.ask("").parse::<u64>().unwrap() > 20);
    // Each message waits for two ticks at most: the one that runs, and the one that was there before it.
    let begun = Instant::now();
    let before: u64 = talk.ask("").parse().unwrap();
    let after: u64 = (0..50).map(|_| talk.ask("").parse::<u64>().unwrap()).last().unwrap();
    assert!(
        after - before <= 100 + u64::try_from(begun.elapsed().as_millis()).unwrap() && after > before,
        "{before} {after}"
    );
    let _ = life.stop().0.ok();
    verify(&machine);
    // A machine that runs for one message hears its ticks, too.
    assert!(send(&machine, "").parse::<u64>().unwrap() >= after);
}

fn now() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap()
}
