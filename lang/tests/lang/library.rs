//! The library's pages in `docs/lang.md`: every name, and what the comment above it says. `ABIDE_BLESS=1` writes them.

use std::fmt::Write;

use lang::base::FILES;

/// Definitions that have one comment.
struct Group {
    names: Vec<String>,
    words: String,
}

/// What a file says of itself, and its groups.
fn groups(source: &str) -> (String, Vec<Group>) {
    let (mut about, mut words, mut groups) = (None, String::new(), Vec::<Group>::new());
    let mut is_new = true;
    for line in source.lines() {
        if let Some(comment) = line.strip_prefix("; ") {
            if is_new {
                words.clear();
                is_new = false;
            }
            words.push_str(if words.is_empty() { "" } else { " " });
            words.push_str(comment);
            continue;
        }
        if line.is_empty() {
            about.get_or_insert_with(|| words.clone());
            words.clear();
        }
        if let Some(rest) = line.strip_prefix("(def ") {
            let name = match rest.strip_prefix('(') {
                Some(rest) => format!("({})", &rest[..rest.find(')').unwrap()]),
                None => rest.split(' ').next().unwrap().to_owned(),
            };
            assert!(!words.is_empty(), "there is no comment above {name}");
            match groups.last_mut() {
                Some(last) if is_new && last.words == words => last.names.push(name),
                _ => groups.push(Group { names: vec![name], words: words.clone() }),
            }
        }
        is_new = true;
    }
    (about.unwrap_or_default(), groups)
}

fn pages() -> String {
    let mut pages = String::new();
    for (name, source) in FILES {
        let (about, groups) = groups(source);
        writeln!(pages, "### {name}\n\n{about}\n\n| | |\n|---|---|").unwrap();
        for Group { names, words } in groups {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            writeln!(pages, "| {} | {} |", names.join(" "), words.replace('|', "\\|")).unwrap();
        }
        pages.push('\n');
    }
    pages
}

#[test]
fn every_name_is_in_the_pages() {
    const START: &str = "<!-- of lang/base; a test compares, ABIDE_BLESS=1 writes -->\n\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lang.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, written) = text.split_once(START).unwrap();
    let pages = pages();
    if std::env::var_os("ABIDE_BLESS").is_some() {
        std::fs::write(path, format!("{before}{START}{}\n", pages.trim_end())).unwrap();
    } else {
        assert_eq!(written.trim_end(), pages.trim_end(), "ABIDE_BLESS=1 cargo test -p lang library writes it anew");
    }
}
