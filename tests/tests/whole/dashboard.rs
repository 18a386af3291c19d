//! The dashboard: what it shows is what the machine's log and status say, to its owner and nobody else, and it is no burden to the machine.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tests::abide::{Life, OnTerminal, abide, boot, example, log, place, place_in_memory, run, send, status, verify};
use tests::browser::Browser;
use tests::not_run;
use tests::web::{Client, Response, free_port, wait_until};

fn notes(folder: &Path) -> PathBuf {
    let machine = folder.join("notes");
    boot(&machine, &example("notes/notes.wasm"), &[]);
    machine
}

/// Runs a machine with its dashboard at this port, once it is up.
fn shown(machine: &Path, port: u16) -> Life {
    let mut life = Life::of(abide(["start", machine.to_str().unwrap(), "--dashboard", &port.to_string()]));
    drop(life.talk(machine));
    life
}

/// What is answered to these lines.
fn ask(port: u16, lines: &[&str]) -> Response {
    let mut client = Client::of(port);
    client.send(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).unwrap();
    client.response().unwrap()
}

/// A page of the dashboard, without its drawing.
struct Viewer {
    client: Client,
    head: Json,
    rows: Vec<Json>,
    maps: Vec<Json>,
    requests: Vec<Json>,
}

impl Viewer {
    fn of(port: u16) -> Self {
        let mut client = Client::of(port);
        client.send(format!("GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes()).unwrap();
        let head = client.until("\r\n\r\n").unwrap();
        assert!(head.contains("200 OK") && head.contains("text/event-stream"), "{head}");
        let mut this = Self { client, head: Json::Null, rows: vec![], maps: vec![], requests: vec![] };
        assert_eq!(this.take(), "snapshot");
        this
    }

    /// Takes one event in; its name.
    fn take(&mut self) -> String {
        let text = self.client.until("\n\n").unwrap();
        let (name, data) = text.split_once("event: ").unwrap().1.split_once("\ndata: ").unwrap();
        let mut said: Json = serde_json::from_str(data).unwrap();
        assert_eq!(said["v"], 1);
        self.head = said["head"].take();
        let rows = said["log"].as_array().unwrap();
        if let (Some(last), Some(first)) = (self.rows.last(), rows.first()) {
            assert!(first["seq"].as_u64() > last["seq"].as_u64(), "{first} comes after {last}");
        }
        self.rows.extend_from_slice(rows);
        if let Some(maps) = said["maps"].as_array() {
            self.maps.clone_from(maps);
        }
        for (map, cells) in self.maps.iter_mut().zip(said["cells"].as_array().into_iter().flatten()) {
            for cell in cells.as_array().unwrap() {
                let index = usize::try_from(cell[0].as_u64().unwrap()).unwrap();
                map["used"][index] = cell[1].clone();
                map["age_ms"][index] = cell[2].clone();
            }
        }
        if let Some(requests) = said["requests"].as_array() {
            self.requests.clone_from(requests);
        }
        name.to_owned()
    }

    fn wait_for_end(&mut self, end: &Json) {
        while self.head["end"].as_u64() < end.as_u64() {
            assert_eq!(self.take(), "change");
        }
    }

    fn used_pages(&self) -> u64 {
        let cells = self.maps.iter().flat_map(|map| map["used"].as_array().unwrap());
        cells.map(|used| used.as_u64().unwrap()).sum()
    }
}

#[test]
fn a_page_is_served_under_its_own_name_and_only_to_be_looked_at() {
    let place = place_in_memory();
    let machine = notes(place.path());
    let port = free_port();
    let life = shown(&machine, port);
    let host = format!("Host: 127.0.0.1:{port}");
    let get = |path: &str| ask(port, &[&format!("GET {path} HTTP/1.1"), &host]);
    let before = status(&machine)["end"].clone();
    let page = get("/");
    assert_eq!(page.status, 200);
    for part in ["/page.css", "/page.js", "/icon.svg"] {
        assert!(page.body.contains(part), "the page has {part}");
        assert_eq!(get(part).status, 200);
    }
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';";
    for said in [&page, &get("/page.js"), &get("/nothing")] {
        assert!(said.head.contains(policy) && said.head.contains("x-content-type-options: nosniff"), "{}", said.head);
        assert!(!said.head.contains("access-control"), "{}", said.head);
    }
    // What the policy forbids is not there, nor anything from elsewhere.
    for forbidden in ["<style", " style=", " onclick", "<script>", "//fonts", "http://", "https://"] {
        assert!(!page.body.contains(forbidden), "{forbidden}");
    }
    assert_eq!(get("/nothing").status, 404);
    assert_eq!(ask(port, &["GET / HTTP/1.1", &format!("Host: localhost:{port}")]).status, 200);
    let other = format!("Host: other.example:{port}");
    let absolute = format!("GET http://other.example:{port}/ HTTP/1.1");
    let unmeant: [&[&str]; 6] = [
        &["GET / HTTP/1.1", &other],
        &["GET /events HTTP/1.1", &other],
        &["GET / HTTP/1.1", "Host: 127.0.0.1:1"],
        &["GET / HTTP/1.1", &host, &other],
        &["GET / HTTP/1.0"],
        &[&absolute, &host],
    ];
    for lines in unmeant {
        let said = ask(port, lines);
        assert_eq!(said.status, 421, "{lines:?}");
        assert_eq!(said.body, format!("this is http://127.0.0.1:{port}/ and goes by no other name\n"));
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let said = ask(port, &[&format!("{method} / HTTP/1.1"), &host, "Content-Length: 0"]);
        assert_eq!((said.status, said.head.contains("allow: GET, HEAD")), (405, true), "{method}");
    }
    let foreign = ask(port, &["GET /events HTTP/1.1", &host, "Sec-Fetch-Site: cross-site"]);
    assert_eq!(foreign.status, 403);
    let mut client = Client::of(port);
    for path in ["/", "/events"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\n{host}\r\n\r\n").as_bytes()).unwrap();
        assert!(client.until("\r\n\r\n").unwrap().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(status(&machine)["end"], before, "who looks leaves no trace");
    let _ = life.stop().0.ok();
}

/// The folder of a machine is its owner's; an address on loopback is open to all who are on the host.
#[test]
fn another_user_is_shown_nothing() {
    if !rustix::process::getuid().is_root() {
        return not_run("dashboard::another_user_is_shown_nothing: only root can be another user");
    }
    let place = place_in_memory();
    let machine = notes(place.path());
    let port = free_port();
    let life = shown(&machine, port);
    for path in ["/", "/events"] {
        let request = format!("GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nConnection: close\\r\\n\\r\\n");
        let asked = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{request}' >&3; cat <&3");
        let said = Command::new("bash").args(["-c", &asked]).current_dir("/").uid(65_534).gid(65_534).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.starts_with("HTTP/1.1 403"), "{said}");
        assert!(said.ends_with("this dashboard belongs to another user of this host\n"), "{said}");
    }
    let _ = life.stop().0.ok();
}

#[test]
fn what_is_told_is_what_log_and_status_say() {
    let place = place();
    let machine = notes(place.path());
    for number in 0..5 {
        assert_eq!(send(&machine, &format!("put before{number} text")), "ok");
    }
    let port = free_port();
    let mut life = shown(&machine, port);
    let mut talk = life.talk(&machine);
    let mut early = Viewer::of(port);
    let used = early.used_pages();
    for number in 0..150 {
        assert_eq!(talk.ask(&format!("put note{number} {}", "long text ".repeat(300))), "ok");
    }
    let _ = talk.say("", "test trap");
    let stands = status(&machine);
    let mut late = Viewer::of(port);
    let whole = log(&machine, 0);
    for viewer in [&mut early, &mut late] {
        viewer.wait_for_end(&stands["end"]);
        for name in ["machine", "incarnation", "epoch", "engine", "end", "root", "batch", "time_ns"] {
            assert_eq!(viewer.head[name], stands[name], "{name}");
        }
        for name in ["end", "root"] {
            assert_eq!(viewer.head["checkpoint"][name], stands["checkpoint"][name], "checkpoint {name}");
        }
        assert_eq!(viewer.head["grants"], stands["grants"]);
        let last = &viewer.rows[viewer.rows.len() - 1];
        assert_eq!(last["seq"].as_u64().unwrap() + 1, stands["end"].as_u64().unwrap());
        for row in &viewer.rows {
            let record = &whole[usize::try_from(row["seq"].as_u64().unwrap()).unwrap()];
            for name in ["kind", "time_ns", "cost_ns", "root"] {
                assert_eq!(row[name], record[name], "{name} of {record}");
            }
            if record["input"]["kind"] == "message" {
                let text = record["input"]["payload"]["text"].as_str().unwrap();
                let start: String = text.chars().take(100).collect();
                assert_eq!(row["port"], "owner");
                assert!(row["text"].as_str().unwrap().contains(&start), "{row} is {record}");
            }
        }
        let abort = viewer.rows.iter().find(|row| row["kind"] == "abort").unwrap();
        assert!(abort["reason"].as_str().unwrap().contains("unreachable"), "{abort}");
        assert!(viewer.used_pages() > used + 80, "450 KB were written: {}", viewer.used_pages());
        assert_eq!(viewer.head["used_pages"], viewer.used_pages());
    }
    assert!(early.rows.iter().any(|row| row["checkpoint"] == json!(true)), "it has booted");
    // The whole log was told, but for what came too fast: of that, the last.
    assert!(early.rows.len() >= 60, "{}", early.rows.len());
    assert_eq!(late.rows.len(), whole.len().min(200));
    assert_eq!(early.maps[0]["used"], late.maps[0]["used"]);
    let _ = life.stop().0.ok();
    let stands = status(&machine);
    let life = shown(&machine, port);
    let again = Viewer::of(port);
    assert_eq!((&again.head["end"], &again.head["root"]), (&stands["end"], &stands["root"]));
    assert_eq!(again.used_pages(), late.used_pages(), "as the tree of the memory has it");
    let _ = life.stop().0.ok();
    verify(&machine);
}

/// What is open is counted batch by batch; the image of a checkpoint has it counted anew.
#[test]
fn what_is_open_is_what_the_image_says() {
    let place = place_in_memory();
    let (machine, port, kv) = (place.path().join("kv"), free_port(), free_port());
    boot(&machine, &example("kv/kv.abide"), &["--grant", &format!("tcp-listen:{kv}")]);
    let life = shown(&machine, port);
    let mut viewer = Viewer::of(port);
    let [taking] = viewer.requests.as_slice() else { panic!("it takes connections: {:?}", viewer.requests) };
    assert_eq!((&taking["port"], &taking["since_ns"]), (&format!("tcp-listen:{kv}").into(), &Json::Null));
    let mut clients: Vec<_> = (0..3).map(|_| Client::of(kv)).collect();
    for (client, seconds) in clients.iter_mut().zip(["10", "20", "30"]) {
        let request = format!("*5\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n$2\r\nEX\r\n$2\r\n{seconds}\r\n");
        client.send(request.as_bytes()).unwrap();
        assert_eq!(client.until("\r\n").unwrap(), "+OK\r\n");
    }
    clients.pop();
    // A change of grants is a checkpoint, and what follows it at once may be in its batch or not: until it was.
    wait_until(|| {
        let _ = run(["grant", machine.to_str().unwrap(), &format!("tcp-listen:{}", free_port())]).ok();
        let stands = status(&machine);
        viewer.wait_for_end(&stands["end"]);
        let is_whole = stands["checkpoint"]["end"] == stands["end"] && viewer.head["end"] == stands["end"];
        for name in ["open_requests", "owed_replies", "undelivered_effects", "memory_bytes", "grants"] {
            assert!(!is_whole || viewer.head[name] == stands[name], "{name}: {} is {stands}", viewer.head);
        }
        is_whole
    });
    wait_until(|| {
        viewer.take();
        // It takes connections, reads from two, and waits for the time to throw keys away.
        viewer.requests.len() == 4
    });
    assert_eq!(viewer.head["open_requests"], 4);
    let ports: Vec<&str> = viewer.requests.iter().map(|request| request["port"].as_str().unwrap()).collect();
    assert_eq!(ports.iter().filter(|port| **port == format!("tcp-listen:{kv}")).count(), 3, "{ports:?}");
    assert!(ports.contains(&"clock"), "{ports:?}");
    assert!(viewer.requests.iter().all(|request| request["since_ns"].is_u64()), "{:?}", viewer.requests);
    let _ = life.stop().0.ok();
}

#[test]
fn a_browser_shows_a_machine_through_a_kill() {
    let Some(mut browser) = Browser::start() else {
        return not_run("dashboard::a_browser_shows_a_machine_through_a_kill: apt-get install chromium");
    };
    let place = place();
    let machine = notes(place.path());
    let port = free_port();
    let mut life = shown(&machine, port);
    let mut page = browser.open(&format!("http://127.0.0.1:{port}/"));
    let live = "document.getElementById('state')?.textContent === 'live'";
    page.wait_until(live);
    assert_eq!(page.value("document.getElementById('name').textContent"), "notes");
    for round in 0..3 {
        assert_eq!(send(&machine, &format!("put note{round} <b>not bold</b>")), "ok");
        let shows = |page: &mut tests::browser::Page| {
            let stands = status(&machine);
            let last = stands["end"].as_u64().unwrap() - 1;
            page.wait_until(&format!("document.getElementById('seq').textContent.replace(/,/g, '') === '{last}'"));
            let root = stands["root"].as_str().unwrap();
            assert_eq!(page.value("document.getElementById('root').title"), root);
            let row = format!("document.querySelector('#log tr[data-seq=\"{last}\"]')");
            page.wait_until(&format!("!!{row}"));
            assert_eq!(page.value(&format!("{row}.cells[6].title")), root);
        };
        shows(&mut page);
        let said = format!("\"put note{round} <b>not bold</b>\"");
        page.wait_until(&format!("[...document.querySelectorAll('#log td')].some(td => td.textContent === {said:?})"));
        assert_eq!(page.value("document.querySelectorAll('#log b').length"), 0, "what is said is no markup");
        page.wait_until("Number(document.getElementById('used-pages').textContent) > 0");
        page.wait_until("document.getElementById('step-half').textContent.endsWith('s')");
        let _ = life.kill();
        page.wait_until("document.getElementById('state').textContent === 'not running: reconnecting'");
        assert_eq!(send(&machine, &format!("put unseen{round} text")), "ok");
        life = shown(&machine, port);
        page.wait_until(live);
        shows(&mut page);
    }
    // The pictures are there: something is drawn on each.
    for canvas in ["rate", "latency", "cost", "map"] {
        assert_eq!(send(&machine, "put canvas text"), "ok");
        page.wait_until(&format!(
            "(() => {{ const at = document.getElementById('{canvas}'); \
             return at.getContext('2d').getImageData(0, 0, at.width, at.height).data.some(value => value > 0) }})()"
        ));
    }
    let _ = life.stop().0.ok();
}

/// Viewers who read nothing: there are only so many, the machine does not wait for them, and nothing is kept for them.
#[test]
fn viewers_who_do_not_read_are_no_burden() {
    let place = place_in_memory();
    let machine = notes(place.path());
    let port = free_port();
    let mut life = shown(&machine, port);
    let mut talk = life.talk(&machine);
    let mut churn = |seconds: u64| {
        let (begun, mut count) = (Instant::now(), 0_u32);
        while begun.elapsed() < Duration::from_secs(seconds) {
            count += 1;
            assert_eq!(talk.ask(&format!("put note{} {}", count % 9, "text ".repeat(200))), "ok");
        }
        count
    };
    churn(1);
    let request = format!("GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut asleep: Vec<_> = (0..16)
        .map(|_| {
            let mut client = Client::slow(port);
            client.send(request.as_bytes()).unwrap();
            client
        })
        .collect();
    wait_until(|| ask(port, &["GET /events HTTP/1.1", &format!("Host: 127.0.0.1:{port}")]).status == 503);
    churn(1);
    let before = memory_kib(life.pid());
    let count = churn(4);
    let grown = memory_kib(life.pid()).saturating_sub(before);
    assert!(count > 100, "only {count} messages were answered");
    assert!(grown < 16 << 10, "{grown} KiB more");
    // A place that becomes free is free.
    asleep.pop();
    wait_until(|| {
        let mut client = Client::of(port);
        client.send(request.as_bytes()).unwrap();
        client.until("\r\n\r\n").unwrap().contains("200 OK")
    });
    let _ = life.stop().0.ok();
}

/// How much memory a process has in use.
fn memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()).collect()
}

#[test]
fn a_machine_without_a_dashboard_has_nothing_of_it() {
    let place = place_in_memory();
    let machine = notes(place.path());
    let life = Life::up(&machine);
    assert!(!threads(life.pid()).contains(&"abide-dashboard\n".to_owned()));
    let _ = life.stop().0.ok();
    let life = shown(&machine, free_port());
    assert!(threads(life.pid()).contains(&"abide-dashboard\n".to_owned()), "{:?}", threads(life.pid()));
    let _ = life.stop().0.ok();
}

#[test]
fn where_it_cannot_be_the_machine_is_not_started() {
    let place = place_in_memory();
    let machine = notes(place.path());
    let begun = status(&machine);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let start = |address: &str| run(["start", machine.to_str().unwrap(), "--dashboard", address]);
    let expected = format!(
        "error: the dashboard cannot listen on 127.0.0.1:{port}\n  caused by: Address already in use (os error 98)\n  hint: something else listens on {port}; --dashboard 0 takes a port that is free, and says which\n"
    );
    assert_eq!(start(&port.to_string()).fails(1), expected);
    for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
        let error = start(open).fails(2);
        assert!(error.contains("ssh -L 22433:127.0.0.1:22433 HOST"), "{error}");
    }
    let error = run(["start", "--dashboard", machine.to_str().unwrap()]).fails(2);
    assert!(error.contains("where a machine comes after it, write --dashboard=127.0.0.1:22433"), "{error}");
    assert_eq!(status(&machine), begun);
    // Where any port will do, it says which.
    let mut command = abide(["start", "notes", "--dashboard", "0"]);
    command.current_dir(place.path());
    let started = OnTerminal::of(command);
    started.see("dashboard: http://127.0.0.1:");
    started.see("notes runs at seq ");
    started.interrupt();
    assert_eq!(started.end().0.code(), Some(0));
}
