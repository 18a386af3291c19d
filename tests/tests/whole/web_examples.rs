//! The examples that are APIs of HTTP, one in the language and one in C: what was answered stays, however often their host is killed.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use tests::abide::{Life, boot, example, place_in_memory, run, verify};
use tests::sim::random::Random;
use tests::web::{Client, ask, free_port};

#[test]
fn things_to_do_are_an_api() {
    let place = place_in_memory();
    let (machine, port) = (place.path().join("m"), free_port());
    boot(&machine, &example("todo/todo.abide"), &["--grant", &format!("http:{port}")]);
    let life = Life::up(&machine);
    let made = ask(port, "POST /todos", "{\"text\":\"milk\"}");
    assert_eq!((made.status, made.body.as_str()), (201, "{\"id\":1,\"done\":false,\"text\":\"milk\"}"));
    assert!(made.head.contains("location: /todos/1\r\n") && made.head.contains("content-type: application/json\r\n"));
    assert_eq!(ask(port, "PATCH /todos/1", "{\"done\":true}").body, "{\"id\":1,\"done\":true,\"text\":\"milk\"}");
    assert_eq!(ask(port, "GET /todos?done=false", "").body, "[]");
    assert_eq!(ask(port, "GET /todos/1", "").body, "{\"id\":1,\"done\":true,\"text\":\"milk\"}");
    assert_eq!(ask(port, "PUT /todos/1", "").status, 405);
    assert_eq!(ask(port, "POST /todos", "{\"text\":7}").status, 400);
    let gone = ask(port, "DELETE /todos/1", "");
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    assert_eq!(ask(port, "GET /todos/1", "").status, 404);
    // A number is not given twice.
    assert!(ask(port, "POST /todos", "{\"text\":\"eggs\"}").body.contains("\"id\":2,"));
    let _ = life.stop().0.ok();
    verify(&machine);
}

/// Clients write while the host is killed again and again: of all that was answered nothing is missing, and nothing is there that nobody wrote.
fn keeps_what_it_answered(
    program: &str,
    path: &str,
    body: fn(&str) -> String,
    number: fn(&str) -> u64,
    reads: fn(&str) -> String,
) {
    const CLIENTS: u64 = 4;
    const ROUNDS: u64 = 6;
    let place = place_in_memory();
    let (machine, port) = (place.path().join("m"), free_port());
    boot(&machine, &example(program), &[]);
    let _ = run(["grant".as_ref(), machine.as_os_str(), format!("http:{port}").as_ref()]).ok();
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    let mut random = Random::new(7);
    for round in 0..ROUNDS {
        let mut life = Life::up(&machine);
        for (number, text) in &known {
            assert_eq!(
                reads(&ask(port, &format!("GET {path}/{number}"), "").body),
                *text,
                "what was answered is there"
            );
        }
        let killer = life.killer();
        let answered: Vec<(u64, String)> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let mut connection = Client::of(port);
                    scope.spawn(move || {
                        let mut answered = Vec::new();
                        for turn in 0.. {
                            let text = format!("{round} {client} {turn}");
                            if connection.request(&format!("POST {path}"), "", &body(&text)).is_err() {
                                break;
                            }
                            let Ok(response) = connection.response() else { break };
                            assert_eq!(response.status, 201, "{}", response.body);
                            answered.push((number(&response.body), text));
                        }
                        answered
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(20 + random.below(60)));
            killer.kill();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        life.see_dead();
        for (number, text) in answered {
            assert_eq!(known.insert(number, text), None, "a number is given once");
        }
    }
    assert!(known.len() as u64 > ROUNDS * CLIENTS, "{} were answered", known.len());
    verify(&machine);
}

#[test]
fn things_to_do_stay() {
    let body = |text: &str| format!("{{\"text\":\"{text}\"}}");
    let number = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["id"].as_u64().unwrap();
    let text =
        |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["text"].as_str().unwrap().to_owned();
    keeps_what_it_answered("todo/todo.abide", "/todos", body, number, text);
}

#[test]
fn notes_on_a_board_stay() {
    keeps_what_it_answered("board/board.wasm", "/notes", str::to_owned, |body| body.parse().unwrap(), str::to_owned);
}
