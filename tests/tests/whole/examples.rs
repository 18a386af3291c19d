//! The examples that are texts: what their READMEs show is what happens, and the bank's total stays, however often the machine is killed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rand::rngs::SmallRng;
use tests::abide::{Life, abide, boot, example, finish, place_in_memory, run, send};

/// A command of a README and what it shows there.
struct Shown {
    command: String,
    typed: String,
    expected: Vec<String>,
}

/// The indented blocks of a README: `$ command`, what is typed at its prompt after `> `, and lines that it prints.
fn transcript(readme: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for line in readme.lines().filter_map(|line| line.strip_prefix("    ")) {
        if let Some(command) = line.strip_prefix("$ ") {
            shown.push(Shown { command: command.to_owned(), typed: String::new(), expected: Vec::new() });
        } else if let Some(last) = shown.last_mut() {
            match line.strip_prefix("> ") {
                Some(typed) => last.typed += &format!("{typed}\n"),
                None => last.expected.push(line.to_owned()),
            }
        }
    }
    shown
}

/// Splits at blanks outside of single quotes, as a shell does.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in command.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[track_caller]
fn replay(name: &str) {
    let place = place_in_memory();
    let folder = example(name);
    symlink(folder.parent().unwrap(), place.path().join("examples")).unwrap();
    let shown = transcript(&fs::read_to_string(folder.join("README.md")).unwrap());
    assert!(shown.len() >= 3, "the README of {name} shows little");
    for Shown { command, typed, expected } in shown {
        let mut words = words(&command);
        assert_eq!(words.remove(0), "abide", "{command}");
        let mut process = abide(words);
        process.current_dir(place.path());
        let input = place.path().join("typed");
        fs::write(&input, typed).unwrap();
        process.stdin(fs::File::open(&input).unwrap());
        let ran = finish(&mut process);
        let out = String::from_utf8(ran.out.clone()).unwrap();
        let words_of_it = ran.err.lines().filter(|line| line.starts_with("error:") || line.ends_with(" hold"));
        let found: Vec<&str> = out.lines().chain(words_of_it).collect();
        assert_eq!(found, expected, "{name}: {command}: {ran}");
    }
}

#[test]
fn readmes_show_what_happens() {
    ["bank", "chat", "fib", "upgrade"].into_iter().for_each(replay);
}
