//! The examples that are texts: what their READMEs show is what happens, and the bank's total stays, however often the machine is killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use std::thread;
use std::time::Duration;

use tests::abide::{Life, abide, boot, example, finish, place_in_memory, run_with_input, send, verify};
use tests::sim::random::Random;

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
    ["bank", "chat", "feeds", "fib", "kv", "todo", "upgrade"].into_iter().for_each(replay);
}

/// Transfers until the machine is killed, thirty times: the total is what it was, and what was answered has been done.
#[test]
fn the_banks_total_stays_however_often_it_is_killed() {
    const KILLS: usize = 30;
    let place = place_in_memory();
    let machine = place.path().join("m");
    boot(&machine, &example("bank/bank.abide"), &[]);
    for name in ["ann", "bob", "eve"] {
        assert_eq!(send(&machine, &format!("open {name}")), "opened");
    }
    let mut random = Random::new(7);
    let names = ["bank", "ann", "bob", "eve"];
    let mut moved = 0;
    // What each has, as far as was acknowledged; the last transfer of a life may have been done or not.
    let mut known: BTreeMap<&str, u64> = names.into_iter().map(|name| (name, 0)).collect();
    known.insert("bank", 1_000_000);
    for _ in 0..KILLS {
        let mut life = Life::start(&machine);
        let mut talk = life.talk(&machine);
        let killer = life.killer();
        let delay = Duration::from_micros(random.below(60_000));
        let last = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(delay);
                killer.kill();
            });
            loop {
                let (from, to, n) = (random.pick(&names), random.pick(&names), random.below(1000));
                match talk.say("", &format!("move {n} {from} {to}")) {
                    Ok(tests::abide::Answer::Said(_)) => {
                        moved += 1;
                        *known.get_mut(from).unwrap() -= n;
                        *known.get_mut(to).unwrap() += n;
                    }
                    Ok(tests::abide::Answer::Refused(64, _)) => assert!(known[from] < n),
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => break (from, to, n),
                }
            }
        });
        life.see_dead();
        let at_prompt = |typed: &[u8]| run_with_input(["repl".as_ref(), machine.as_os_str()], typed).ok();
        let said = at_prompt(b"(total self)\n(map (flip at self) [\"bank\" \"ann\" \"bob\" \"eve\"])\n");
        let (total, balances) = said.trim().split_once('\n').unwrap();
        assert_eq!(total, "1000000");
        let balances = balances.trim_matches(['[', ']']).split(' ').map(|balance| balance.parse().unwrap());
        let found: BTreeMap<&str, u64> = names.into_iter().zip(balances).collect();
        let (from, to, n) = last;
        let mut with_last = known.clone();
        if with_last[from] >= n {
            *with_last.get_mut(from).unwrap() -= n;
            *with_last.get_mut(to).unwrap() += n;
        }
        assert!(found == known || found == with_last, "{found:?} is neither {known:?} nor {with_last:?}");
        known = found;
    }
    println!("{moved} transfers acknowledged in {KILLS} lives");
    assert!(moved > 0);
    verify(&machine);
}
