//! Jets against the laws that they stand in for: the same values, and crashes where the laws crash.

use lang::base::FILES;
use lang::eval::{JetTable, Limits};
use lang::session::Session;

/// Small, since by its law a number takes as many steps as it says; every kind of value, and what comes near a row or bytes.
const ARGUMENTS: [&str; 25] = [
    "0",
    "1",
    "2",
    "3",
    "6",
    "[]",
    "[4]",
    "[1 0 2]",
    "[[] [3] [1 2]]",
    "[\"\" #x\"01\"]",
    "\"\"",
    "#x\"00\"",
    "#x\"05\"",
    "(pin 2)",
    "(law 0 3 0)",
    "#((law 0 3 0) 1)",
    "(law 1 1 2)",
    "#{}",
    "#{1 3 []}",
    "{}",
    "{1 (die 'lazy) 3 \"b\"}",
    "(law 1 2 [2 1])",
    "[[1 2] [1 3] [[] (die 'lazy)]]",
    "(die 'lazy)",
    "[1 (die 'lazy)]",
];

fn is_defined(name: &str) -> bool {
    FILES.iter().any(|(_, source)| source.contains(&format!("(def ({name} ")))
}

#[test]
fn jets_have_their_laws_in_the_library() {
    let without: Vec<&str> =
        JetTable::default().names().map(|(name, _)| name).filter(|name| !is_defined(name)).collect();
    assert_eq!(without, ["switch", "trace", "divmod", "blake3", "pinhash"], "what only other libraries have");
}

/// What a pin holds is run as the law that it is, and only what it calls besides itself has jets.
#[test]
fn jets_do_what_their_laws_do() {
    let limits = Limits { heap_words: 8 << 20, stack_words: 8 << 20, ..Limits::default() };
    let mut session = Session::new(limits, Box::new(|_| Err("there is no such file".to_owned()))).unwrap();
    let mut tried = 0;
    for (name, count) in JetTable::default().names().filter(|(name, _)| is_defined(name)) {
        let count = u32::try_from(count).unwrap();
        for case in 0..ARGUMENTS.len().pow(count) {
            // All pairs; of triples, a sample.
            if count > 2 && case % 7 != 0 {
                continue;
            }
            let argument = |at: u32| ARGUMENTS[case / ARGUMENTS.len().pow(at) % ARGUMENTS.len()];
            let arguments: Vec<&str> = (0..count).map(argument).collect();
            let mut value = |function: &str| {
                let call = format!("({function} {})", arguments.join(" "));
                match session.run(&call) {
                    Ok(mut outcome) => Ok(outcome.values.pop().unwrap()),
                    // Which of two crashes comes first is not promised.
                    Err(error) if error.to_string().contains("it crashed") => Err("crash"),
                    Err(error) => panic!("{call}: {error}"),
                }
            };
            assert_eq!(value(name), value(&format!("(unpin {name})")), "{name} {arguments:?}");
            tried += 1;
        }
    }
    assert!(tried > 5000, "{tried}");
}
