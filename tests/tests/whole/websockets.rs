//! Machines that talk over websockets: what is said, what is refused, and who is gone after a kill.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::abide::{Life, boot, example, place, place_in_memory, run, send, verify};
use tests::web::{Client, free_port, wait_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// Says back what it is told; some words make it do otherwise.
const ECHO: &str = r#"
(def ports ["http"])
(def start {"heard" 0 "gone" 0 "open" []})
(def (main self input)
  (case input
    ["message" 0 _ reply "all"] [self (weld (replies reply "told")
                                        (map (fn (socket) (answers-part socket (socket-text "all"))) (at "open" self)))]
    ["message" 0 _ reply _] [self (replies reply (text [(at "heard" self) " " (at "gone" self) " " (len (at "open" self))]))]
    ["message" _ _ 0 payload]
      (let (heard (alter (map-option inc) "heard" self))
        (case (read-socket payload)
          [socket 1 "bye"] [heard [(answers socket (socket-close 4000 "so long"))]]
          [socket 1 "end"] [heard [(answers socket "")]]
          [socket 1 "last"] [heard [(answers socket (socket-text "word"))]]
          [socket 1 "nonsense"] [heard [(answers-part socket "nonsense")]]
          [socket 1 "refuse"] [heard [(refuses socket 64 "not you")]]
          [socket 1 "crash"] (die 'oops)
          [socket 1 t] [heard [(answers-part socket (socket-text t))]]
          [socket 2 b] [heard [(answers-part socket (socket-bytes b))]]
          _ (die 'nothing)))
    ["message" _ _ reply payload]
      (let (request (read-request payload))
        (case (idx 1 request)
          "/no" [self [(answers reply (text-response 403 "not here"))]]
          "/whole" [self [(answers reply socket-response)]]
          _ [(insert "open" (snoc (at "open" self) reply) self) [(answers-part reply socket-response)]]))
    ["gone" reply] [(insert "open" (filter (fn (one) (not (eql one reply))) (at "open" self))
                      (alter (map-option inc) "gone" self))
                    []]
    _ [self []]))
"#;

type Socket = WebSocket<TcpStream>;

fn machine_of(folder: &Path, program: &Path) -> (PathBuf, u16) {
    let (machine, port) = (folder.join("m"), free_port());
    boot(&machine, program, &["--grant", &format!("http:{port}")]);
    (machine, port)
}

fn echo(folder: &Path) -> (PathBuf, u16) {
    let program = folder.join("echo.abide");
    fs::write(&program, ECHO).unwrap();
    machine_of(folder, &program)
}

fn connect(port: u16, path: &str) -> Result<Socket, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (socket, _) = client(format!("ws://127.0.0.1:{port}{path}"), stream).map_err(|error| error.to_string())?;
    Ok(socket)
}

/// The next thing that is said: a message, or how the socket was closed.
fn hear(socket: &mut Socket) -> String {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return text.to_string(),
            Ok(Message::Binary(bytes)) => return format!("{bytes:?}"),
            Ok(Message::Close(Some(last))) => return format!("{} {}", u16::from(last.code), last.reason),
            Ok(_) => {}
            Err(error) => return format!("error: {error}"),
        }
    }
}

fn ask(socket: &mut Socket, text: &str) -> String {
    socket.send(Message::text(text)).unwrap();
    hear(socket)
}

#[test]
fn what_is_said_is_answered_until_one_side_has_enough() {
    let place = place_in_memory();
    let (machine, port) = echo(place.path());
    let life = Life::up(&machine);
    let mut socket = connect(port, "/").unwrap();
    assert_eq!(ask(&mut socket, "hello"), "hello");
    assert_eq!(ask(&mut socket, ""), "");
    assert_eq!(ask(&mut socket, &"ö".repeat(100_000)).len(), 200_000);
    socket.send(Message::binary(vec![0, 255])).unwrap();
    assert_eq!(hear(&mut socket), "b\"\\0\\xff\"");
    for number in 0..100 {
        socket.send(Message::text(number.to_string())).unwrap();
    }
    for number in 0..100 {
        assert_eq!(hear(&mut socket), number.to_string(), "in order");
    }
    for (word, last) in [
        ("bye", "4000 so long"),
        ("end", "1000 "),
        ("refuse", "1011 machine's own code: not you"),
        ("nonsense", "1011 what the machine said is no message: "),
    ] {
        let mut socket = connect(port, "/").unwrap();
        let said = ask(&mut socket, word);
        assert!(said.starts_with(last), "{word}: {said}");
    }
    let mut other = connect(port, "/").unwrap();
    assert_eq!(ask(&mut other, "last"), "word");
    assert_eq!(hear(&mut other), "1000 ");
    // A step that is aborted is nothing to the client, who was promised nothing.
    socket.send(Message::text("crash")).unwrap();
    assert_eq!(ask(&mut socket, "still here"), "still here");
    assert!(connect(port, "/no").unwrap_err().contains("403"));
    assert!(connect(port, "/whole").unwrap_err().contains("502"));
    socket.close(None).unwrap();
    drop(socket);
    wait_until(|| send(&machine, "").ends_with(" 2 4"));
    let mut last = connect(port, "/").unwrap();
    assert_eq!(ask(&mut last, "here"), "here");
    let _ = life.stop().0.ok();
    assert_eq!(hear(&mut last), "1001 the machine has stopped");
    verify(&machine);
}

#[test]
fn what_is_no_websocket_is_refused() {
    let place = place_in_memory();
    let (machine, port) = echo(place.path());
    let life = Life::up(&machine);
    let said = |headers: &str| {
        let mut client = Client::of(port);
        client.request("GET /", headers, "").unwrap();
        client.response().unwrap()
    };
    let asks = "Upgrade: websocket\r\nConnection: upgrade\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let old = said(&format!("{asks}{key}Sec-WebSocket-Version: 12\r\n"));
    assert!(old.status == 426 && old.head.contains("sec-websocket-version: 13"), "{old:?}");
    assert_eq!(said(&format!("{asks}Sec-WebSocket-Version: 13\r\n")).status, 400);
    assert_eq!(said(&format!("Upgrade: websocket\r\n{key}Sec-WebSocket-Version: 13\r\n")).status, 400);
    // The example of RFC 6455, 1.3.
    let mut agreed = Client::of(port);
    agreed.request("GET /", &format!("{asks}{key}Sec-WebSocket-Version: 13\r\n"), "").unwrap();
    let head = agreed.until("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    drop(agreed);
    // One that asks for no websocket is answered no 101.
    assert_eq!(said("").status, 502);
    wait_until(|| send(&machine, "") == "0 2 0");

    let mut large = connect(port, "/").unwrap();
    let _ = large.send(Message::binary(vec![0; (1 << 20) + 1]));
    assert!(hear(&mut large).starts_with("1009"), "too large");
    let mut torn = connect(port, "/").unwrap();
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let mut frame = Frame::from_payload(header, vec![0xff].into());
    frame.header_mut().mask = Some([0; 4]);
    torn.send(Message::Frame(frame)).unwrap();
    assert!(hear(&mut torn).starts_with("1007"), "no UTF-8");
    drop((large, torn));
    wait_until(|| send(&machine, "") == "0 4 0");
    let _ = life.stop().0.ok();
}

#[test]
fn many_that_are_silent_cost_the_others_nothing() {
    const SILENT: usize = 500;
    let place = place_in_memory();
    let (machine, port) = echo(place.path());
    let mut life = Life::up(&machine);
    let mut silent: Vec<_> = (0..SILENT).map(|_| connect(port, "/").unwrap()).collect();
    let mut one = connect(port, "/").unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&mut one, "hello"), "hello");
    }
    assert_eq!(send(&machine, "all"), "told");
    assert_eq!(hear(&mut one), "all");
    for socket in &mut silent {
        assert_eq!(hear(socket), "all");
    }
    let _ = life.kill();
    drop((silent, one));
    life = Life::up(&machine);
    wait_until(|| send(&machine, "") == format!("10 {} 0", SILENT + 1));
    let _ = life.stop().0.ok();
}

#[test]
fn a_room_forgets_nothing_that_it_has_told() {
    let place = place();
    let (machine, port) = machine_of(place.path(), &example("talk/talk.abide"));
    let mut life = Life::up(&machine);
    let mut lines: Vec<String> = Vec::new();
    for round in 0..5 {
        let mut ann = connect(port, "/room").unwrap();
        let mut bob = connect(port, "/room").unwrap();
        let history = format!("{{\"lines\":[{}]}}", lines.join(","));
        assert_eq!((hear(&mut ann), hear(&mut bob)), (history.clone(), history));
        for number in 0..5 {
            let line = format!("{{\"id\":\"{round}-{number}\",\"name\":\"ann\",\"text\":\"line {number}\"}}");
            // One that was sent before it is known what became of it is sent again.
            ann.send(Message::text(line.clone())).unwrap();
            ann.send(Message::text(line.clone())).unwrap();
            let told = format!("{{\"lines\":[{line}]}}");
            assert_eq!((hear(&mut ann), hear(&mut bob)), (told.clone(), told));
            lines.push(line);
        }
        let _ = life.kill();
        assert!(hear(&mut bob).starts_with("error"), "the host has died");
        life = Life::up(&machine);
    }
    let said = run(["peek".as_ref(), machine.as_os_str(), "".as_ref()]).ok();
    assert_eq!(said.lines().count(), lines.len());
    let _ = life.stop().0.ok();
    verify(&machine);
}
