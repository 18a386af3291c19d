//! Pages of machines in a real browser: they go on where they were when their host is killed under them.

use std::path::Path;

use tests::abide::{Life, boot, example, place, run, verify};
use tests::browser::{Browser, Page};
use tests::web::free_port;

/// Two windows on a machine of this example, and how to start it again.
fn with_two_windows(name: &str, test: impl FnOnce(&Path, Life, [Page; 2])) {
    let Some(mut browser) = Browser::start() else {
        return tests::not_run(&format!("browsers::{name}: chromium is not installed: apt-get install chromium"));
    };
    let place = place();
    let (machine, port) = (place.path().join("m"), free_port());
    boot(&machine, &example(&format!("{name}/{name}.abide")), &["--grant", &format!("http:{port}")]);
    let life = Life::up(&machine);
    let url = format!("http://127.0.0.1:{port}/");
    let windows = [browser.open(&url), browser.open(&url)];
    test(&machine, life, windows);
    verify(&machine);
}

#[test]
fn what_is_typed_into_a_notepad_is_in_all_windows_also_after_a_kill() {
    with_two_windows("notepad", |machine, mut life, [mut one, mut other]| {
        for page in [&mut one, &mut other] {
            page.wait_until("document.getElementById('state').textContent === 'saved'");
        }
        let mut text = String::new();
        for round in 0..3 {
            let typed = format!("line {round}\n");
            one.type_into("#pad", &typed);
            text += &typed;
            other.wait_until(&format!("document.getElementById('pad').value === {text:?}"));
            one.wait_until("document.getElementById('state').textContent === 'saved'");
            let _ = life.kill();
            // What is typed while nobody is there waits in the page.
            let typed = format!("in the dark {round}\n");
            one.type_into("#pad", &typed);
            text += &typed;
            one.wait_until("document.getElementById('state').textContent !== 'saved'");
            life = Life::up(machine);
            other.wait_until(&format!("document.getElementById('pad').value === {text:?}"));
            one.wait_until("document.getElementById('state').textContent === 'saved'");
        }
        assert_eq!(run(["peek".as_ref(), machine.as_os_str(), "".as_ref()]).ok(), text);
        let _ = life.stop().0.ok();
    });
}

#[test]
fn what_is_said_in_a_room_is_said_once_also_after_a_kill() {
    with_two_windows("talk", |machine, mut life, [mut ann, mut bob]| {
        ann.type_into("#name", "ann");
        bob.type_into("#name", "bob");
        let mut said = Vec::new();
        let mut say = |page: &mut Page, name: &str, text: String| {
            page.type_into("#text", &text);
            page.enter();
            said.push(format!("{name}: {text}"));
            said.join("\n")
        };
        let lines = "[...document.querySelectorAll('#lines p:not(.waits)')].map(p => p.textContent).join('\\n')";
        for round in 0..3 {
            for page in [&mut ann, &mut bob] {
                page.wait_until("document.getElementById('state').textContent === 'connected'");
            }
            say(&mut ann, "ann", format!("hello {round}"));
            bob.wait_until(&format!("{lines}.endsWith('ann: hello {round}')"));
            say(&mut bob, "bob", format!("<b>hi</b> {round}"));
            ann.wait_until(&format!("{lines}.endsWith('bob: <b>hi</b> {round}')"));
            let _ = life.kill();
            ann.wait_until("document.getElementById('state').textContent === 'reconnecting'");
            let all = say(&mut ann, "ann", format!("is anybody there? {round}"));
            life = Life::up(machine);
            for page in [&mut ann, &mut bob] {
                page.wait_until(&format!("{lines} === {all:?}"));
            }
        }
        let kept = run(["peek".as_ref(), machine.as_os_str(), "".as_ref()]).ok();
        assert_eq!(kept.trim_end(), said.join("\n"));
        let _ = life.stop().0.ok();
    });
}
