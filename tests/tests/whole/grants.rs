//! Grants given and taken while a machine runs, while it is stopped, and while its host dies: what the machine hears, what becomes of what it asked, and
//! what is open to the world.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::{fs, thread};

use serde_json::{Value as Json, json};
use tests::abide::{Life, abide, boot, copy_folder, finish, log, place, place_in_memory, run, send, status, verify};
use tests::web::{Client, ask, free_port, wait_until};

/// Says what it has heard of its grants and requests, waits when it is told to, and serves.
const LISTENER: &str = r#"
(def ports ["http"])
(def start {"grants" [] "broken" [] "answered" 0 "gone" 0})
(def (main self input)
  (case input
    ["boot" grants] [(insert "grants" grants self) []]
    ["grants" grants] [(insert "grants" grants self) []]
    ["message" 0 _ reply "wait"]
      [self [(asks-wait 1 (mul 10000000000 second)) (answers reply "waits")]]
    ["message" 0 _ reply "time"] [self [(asks-time 2) (answers reply "asks")]]
    ["message" 0 _ reply "print"] [self [(prints "printed") (answers reply "prints")]]
    ["message" 0 _ reply _]
      [self (replies reply (show-json [(at "grants" self) (at "broken" self) (at "answered" self) (at "gone" self)]))]
    ["message" port _ reply payload]
      (case (read-request payload)
        [_ "/never" _ _ _] [self []]
        _ [self [(answers reply (text-response 200 ["port " port]))]])
    ["broken" request code why] [(alter (map-option (fn (b) (weld b [[request code why]]))) "broken" self) []]
    ["answer" _ _ _] [(alter (map-option inc) "answered" self) []]
    ["gone" _] [(alter (map-option inc) "gone" self) []]
    _ [self []]))
"#;

fn listener(folder: &Path, more: &[&str]) -> PathBuf {
    let (machine, program) = (folder.join("m"), folder.join("listener.abide"));
    fs::write(&program, LISTENER).unwrap();
    boot(&machine, &program, more);
    machine
}

/// What it has heard: its grants, what was broken, how much was answered, and how many have gone.
fn heard(machine: &Path) -> Json {
    serde_json::from_str(&send(machine, "")).unwrap()
}

fn change(command: &str, machine: &Path, ports: &[&str]) -> String {
    let ran = run([&[command, machine.to_str().unwrap()], ports].concat());
    assert_eq!(ran.status.code(), Some(0), "{ran}");
    ran.err
}

fn refused(command: &str, machine: &Path, ports: &[&str]) -> String {
    run([&[command, machine.to_str().unwrap()], ports].concat()).fails(1)
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Numbers and names, as status has them.
fn granted(machine: &Path) -> Vec<(u64, String)> {
    let status = status(machine);
    let grants = status["grants"].as_array().unwrap().iter();
    grants.map(|grant| (grant["port"].as_u64().unwrap(), grant["name"].as_str().unwrap().to_owned())).collect()
}

fn kinds(machine: &Path, since: u64) -> Vec<String> {
    let kind = |record: &Json| match &record["input"]["kind"] {
        Json::String(input) => format!("{} {input}", record["kind"].as_str().unwrap()),
        _ => record["kind"].as_str().unwrap().to_owned(),
    };
    log(machine, since).iter().map(kind).filter(|kind| kind != "settle").collect()
}

fn end(machine: &Path) -> u64 {
    status(machine)["end"].as_u64().unwrap()
}

#[test]
fn a_running_machine_serves_once_it_may_and_no_longer_than_that() {
    let place = place_in_memory();
    let machine = listener(place.path(), &[]);
    let port = free_port();
    let grant = format!("http:{port}");
    let mut life = Life::up(&machine);
    assert!(!is_open(port));
    let before = end(&machine);
    assert_eq!(change("grant", &machine, &[&grant]), format!("granted {grant}: port 4\n"));
    assert_eq!(ask(port, "GET /", "").body, "port 4");
    assert_eq!(kinds(&machine, before)[..2], ["grant", "step grants"]);
    let all = json!([[0, "owner"], [1, "console"], [2, "clock"], [3, "random"], [4, grant]]);
    assert_eq!(heard(&machine)[0], all, "the machine was told");
    let shown = run(["status", machine.to_str().unwrap()]).ok();
    assert!(shown.contains(&format!("grants       0=owner 1=console 2=clock 3=random 4={grant}\n")), "{shown}");
    let shown = run(["log", machine.to_str().unwrap(), "--since", &before.to_string()]).ok();
    assert!(shown.contains(&format!("grant   0=owner 1=console 2=clock 3=random 4={grant}\n")), "{shown}");

    // Once more changes nothing.
    let before = end(&machine);
    assert_eq!(change("grant", &machine, &[&grant]), format!("{grant} is granted already: port 4\n"));
    assert_eq!(kinds(&machine, before), [""; 0]);

    // Its clients are cut off, and have gone for the machine.
    let mut client = Client::of(port);
    client.request("GET /never", "", "").unwrap();
    wait_until(|| kinds(&machine, before).len() == 1);
    assert_eq!(change("revoke", &machine, &[&grant]), format!("revoked {grant}, which was port 4\n"));
    assert!(!is_open(port));
    assert!(client.response().is_err());
    wait_until(|| heard(&machine)[3] == 1);
    drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());

    // A number is never given again, not by the next process either.
    assert_eq!(change("grant", &machine, &[&grant]), format!("granted {grant}: port 5\n"));
    assert_eq!(ask(port, "GET /", "").body, "port 5");
    let _ = life.kill();
    life = Life::up(&machine);
    assert_eq!(ask(port, "GET /", "").body, "port 5");
    let args = ["revoke", machine.to_str().unwrap(), "5", "--json"];
    let changed = run(args).json();
    assert_eq!(changed["changed"], json!([{ "port": 5, "name": grant }]));
    assert_eq!(changed["grants"].as_array().unwrap().len(), 4);
    assert!(!is_open(port));
    let _ = life.stop().0.ok();
    verify(&machine);
}

#[test]
fn what_was_asked_of_a_revoked_port_is_broken_once() {
    let place = place_in_memory();
    let machine = listener(place.path(), &[]);
    let life = Life::up(&machine);
    assert_eq!(send(&machine, "wait"), "waits");
    change("revoke", &machine, &["clock", "1"]);
    wait_until(|| heard(&machine)[1] != json!([]));
    assert_eq!(heard(&machine)[1], json!([[1, 4, "port 2 is not granted"]]));
    assert_eq!(send(&machine, "print"), "prints");
    // The clock comes back under another number; the machine of this test asks under the old one.
    change("grant", &machine, &["clock"]);
    assert_eq!(send(&machine, "time"), "asks");
    wait_until(|| heard(&machine)[1].as_array().unwrap().len() == 2);
    assert_eq!(heard(&machine)[1][1], json!([2, 4, "port 2 is not granted"]));
    let (ran, lines) = life.stop();
    assert!(ran.ok().is_empty() && lines.is_empty(), "nothing was printed");
    assert_eq!(status(&machine)["undelivered_effects"], 0);
    let numbers: Vec<u64> = granted(&machine).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [0, 3, 4]);
    verify(&machine);
}

#[test]
fn a_stopped_machine_hears_of_its_grants_and_nothing_leaves_it() {
    let place = place_in_memory();
    let machine = listener(place.path(), &[]);
    let port = free_port();
    let grant = format!("http:{port}");
    // What was printed and not shown stays so, and the address is not looked at.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let before = end(&machine);
    let ran = run(["grant", machine.to_str().unwrap(), &grant]);
    assert_eq!(ran.err, format!("granted {grant}: port 4\n"));
    assert!(ran.ok().is_empty());
    assert_eq!(kinds(&machine, before), ["grant", "step grants"]);
    assert_eq!(status(&machine)["running"], Json::Null);
    let error = run(["start", machine.to_str().unwrap()]).fails(1);
    assert!(error.contains(&format!("the port {grant} cannot be opened")), "{error}");
    drop(other);
    let life = Life::up(&machine);
    assert_eq!(ask(port, "GET /", "").body, "port 4");
    let _ = life.stop().0.ok();
    // A copy is the owner's, too, and has what its original has; what the original loses it keeps.
    let copy = place.path().join("copy");
    copy_folder(&machine, &copy);
    change("revoke", &machine, &["4", "random"]);
    assert_eq!(granted(&machine).len(), 3);
    assert_eq!(granted(&copy).last().unwrap().1, grant);
    let life = Life::up(&copy);
    assert_eq!(ask(port, "GET /", "").body, "port 4");
    let _ = life.stop().0.ok();
    verify(&machine);
}

#[test]
fn a_port_that_cannot_be_opened_is_not_granted() {
    let place = place_in_memory();
    let machine = listener(place.path(), &[]);
    let (free, taken) = (free_port(), free_port());
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
    let life = Life::up(&machine);
    let before = end(&machine);
    let error = refused("grant", &machine, &[&format!("http:{free}"), &format!("http:{taken}")]);
    let cause = "caused by: Address already in use (os error 98)";
    let hint = format!("hint: something else listens on {taken}; stop it, then do this again");
    assert_eq!(error, format!("error: the port http:{taken} cannot be opened\n  {cause}\n  {hint}\n"));
    assert!(!is_open(free), "the one that could be opened is closed again");
    assert_eq!((end(&machine), granted(&machine).len()), (before, 4));
    drop(other);
    change("grant", &machine, &[&format!("http:{free}"), &format!("http:{taken}")]);
    assert_eq!((ask(free, "GET /", "").body.as_str(), ask(taken, "GET /", "").body.as_str()), ("port 4", "port 5"));
    let _ = life.stop().0.ok();
}

#[test]
fn what_cannot_be_granted_or_revoked_is_said() {
    let place = place_in_memory();
    let machine = listener(place.path(), &[]);
    let shown = machine.to_str().unwrap();
    let before = end(&machine);
    let forms = "hint: ports of this version: ";
    let granted = "hint: granted are 1=console 2=clock 3=random";
    let no_port = "this version has no such port";
    let cases: [(&[&str], String); 7] = [
        (&["grant", shown, "gopher:70"], format!("error: the port gopher:70 cannot be granted: {no_port}\n  {forms}")),
        (&["grant", shown, "http:here"], format!("error: the port http:here cannot be granted: {no_port}\n  {forms}")),
        (&["grant", shown, "owner"], format!("error: the port owner cannot be granted: {no_port}\n  {forms}")),
        (&["revoke", shown, "http:80"], format!("error: the port http:80 is not granted\n  {granted}\n")),
        (&["revoke", shown, "clock", "9"], format!("error: the port 9 is not granted\n  {granted}\n")),
        (&["revoke", shown, "owner"], "error: port 0 is the owner's, which is never revoked\n".to_owned()),
        (&["revoke", shown, "0"], "error: port 0 is the owner's, which is never revoked\n".to_owned()),
    ];
    let check = || {
        for (args, error) in &cases {
            let said = run(*args).fails(1);
            assert!(said.starts_with(error), "{args:?}: {said}");
        }
    };
    check();
    let life = Life::up(&machine);
    check();
    assert_eq!(kinds(&machine, before), [""; 0]);
    let json = run(["revoke", shown, "7", "--json"]).fails(1);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!((json["error"].as_str(), json["exit"].as_u64()), (Some("the port 7 is not granted"), Some(1)));
    assert_eq!(json["hint"], "granted are 1=console 2=clock 3=random");
    assert!(run(["grant", shown]).fails(2).contains("<PORT>..."));
    let _ = life.stop().0.ok();
    // All may go but the owner.
    change("revoke", &machine, &["1", "2", "3"]);
    let said = refused("revoke", &machine, &["1"]);
    assert_eq!(said, "error: the port 1 is not granted\n  hint: nothing is granted but the owner's port\n");
}

/// The command's process is killed just before and just after each of its commits: the change is there whole, with its news, or it is not.
#[test]
fn a_change_is_there_whole_whenever_its_host_dies() {
    let place = place();
    let machine = listener(place.path(), &[]);
    let life = Life::up(&machine);
    assert_eq!(send(&machine, "wait"), "waits");
    let _ = life.stop().0.ok();
    for point in ["1:before", "1:after", "2:before", "2:after", "3:before", "3:after"] {
        let copy = place.path().join(point.replace(':', "-"));
        copy_folder(&machine, &copy);
        let mut command = abide(["revoke", copy.to_str().unwrap(), "clock"]);
        let ran = finish(command.env("ABIDE_KILL_AT_COMMIT", point));
        let is_killed = ran.status.signal().is_some();
        assert!(is_killed || ran.status.success(), "{ran}");
        let names: Vec<String> = granted(&copy).into_iter().map(|(_, name)| name).collect();
        let is_done = !names.contains(&"clock".to_owned());
        assert!(is_done || is_killed, "{point}: what was acknowledged is there");
        let mut life = Life::up(&copy);
        if is_done {
            wait_until(|| heard(&copy)[1] != json!([]));
        }
        assert_eq!(heard(&copy)[1].as_array().unwrap().len(), usize::from(is_done), "{point}: it was broken once");
        assert_eq!(heard(&copy)[0].as_array().unwrap().len(), if is_done { 3 } else { 4 }, "{point}: it was told");
        let _ = life.kill();
        life = Life::up(&copy);
        assert_eq!(heard(&copy)[1].as_array().unwrap().len(), usize::from(is_done), "{point}");
        let _ = life.stop().0.ok();
        verify(&copy);
    }
}

/// Many at once, on a machine that is killed again and again: whatever was acknowledged is there.
#[test]
fn what_was_acknowledged_is_granted_after_a_kill() {
    let place = place();
    let machine = listener(place.path(), &[]);
    for round in 0..6 {
        let mut life = Life::up(&machine);
        let killer = life.killer();
        let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
        let acknowledged = thread::scope(|scope| {
            let grants: Vec<_> = ports
                .iter()
                .map(|port| {
                    let machine = machine.clone();
                    scope.spawn(move || {
                        let mut command = abide(["grant", machine.to_str().unwrap(), &format!("http:{port}")]);
                        finish(&mut command).status.success()
                    })
                })
                .collect();
            thread::sleep(std::time::Duration::from_millis(10 + 12 * round));
            killer.kill();
            life.see_dead();
            grants.into_iter().map(|grant| grant.join().unwrap()).collect::<Vec<_>>()
        });
        let names: Vec<String> = granted(&machine).into_iter().map(|(_, name)| name).collect();
        for (port, acknowledged) in ports.iter().zip(acknowledged) {
            assert!(!acknowledged || names.contains(&format!("http:{port}")), "{port} of {names:?}");
        }
    }
    let numbers: Vec<u64> = granted(&machine).into_iter().map(|(number, _)| number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let told: Vec<u64> =
        heard(&machine)[0].as_array().unwrap().iter().map(|grant| grant[0].as_u64().unwrap()).collect();
    assert_eq!(told, numbers);
    verify(&machine);
}

/// A stranger's saved machine opens no server here: it has what a person grants it anew.
#[test]
fn a_saved_machine_is_granted_its_ports_anew() {
    let place = place_in_memory();
    let (one, two, free) = (free_port(), free_port(), free_port());
    let names = [one, two, free].map(|port| format!("http:{port}"));
    let machine = listener(place.path(), &["--grant", &names[0], "--grant", &names[1]]);
    let life = Life::up(&machine);
    assert_eq!(send(&machine, "wait"), "waits");
    change("revoke", &machine, &["clock", "random"]);
    change("grant", &machine, &["clock"]);
    wait_until(|| heard(&machine)[1].as_array().unwrap().len() == 1);
    let _ = life.stop().0.ok();
    let seed = place.path().join("saved.seed");
    let _ = run(["save", seed.to_str().unwrap(), machine.to_str().unwrap()]).ok();
    let booted = |name: &str, more: &[&str]| {
        let folder = place.path().join(name);
        boot(&folder, &seed, more);
        folder
    };

    let none = booted("none", &[]);
    assert_eq!(kinds(&none, 0)[..3], ["epoch", "grant", "step grants"]);
    let left = [(0, "owner"), (1, "console"), (6, "clock")].map(|(number, name)| (number, name.to_owned()));
    assert_eq!(granted(&none), left, "what the owner had revoked does not come back");
    let life = Life::up(&none);
    assert!(!is_open(one) && !is_open(two));
    assert_eq!(heard(&none)[0], json!([[0, "owner"], [1, "console"], [6, "clock"]]));
    let _ = life.stop().0.ok();

    let some = booted("some", &["--grant", &names[1], "--grant", &names[2]]);
    let life = Life::up(&some);
    assert!(!is_open(one));
    assert_eq!((ask(two, "GET /", "").body.as_str(), ask(free, "GET /", "").body.as_str()), ("port 5", "port 7"));
    let _ = life.stop().0.ok();

    let all = booted("all", &["--grant", &names[0], "--grant", &names[1]]);
    assert_eq!(granted(&all), granted(&machine));
    assert_eq!(kinds(&all, 0), ["epoch"], "nothing is logged where nothing changes");

    let folder = place.path().join("no");
    let args = ["boot", folder.to_str().unwrap(), seed.to_str().unwrap(), "--grant", "gopher:70"];
    let error = run(args).fails(1);
    assert!(error.contains("the port gopher:70 cannot be granted: the saved machine had no such port"), "{error}");
    assert!(!folder.exists());
    for machine in [none, some, all] {
        verify(&machine);
    }
}
