//! The picture of the dashboard in the README, made with chromium and made small with pngquant:
//!
//!     cargo run --release -p tests --example dashboard docs/dashboard.png dark && pngquant --force --ext .png 64 docs/dashboard.png
//!
//! The key-value server of the examples lives for a minute under a few clients. Without `dark`, the other colours.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a picture for people")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tests::abide::{Life, Talk, abide, boot, example, place};
use tests::browser::Browser;
use tests::web::free_port;

const LIFE: Duration = Duration::from_secs(55);
const SIZE: (u32, u32) = (1280, 800);
const NAMES: [&str; 8] = ["milk", "bread", "eggs", "visits", "ann", "bob", "cart:17", "session:4"];
const VALUES: [&str; 5] = ["two litres", "rye", "a dozen", "online since noon", "1"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(file), Some(mut browser)) = (args.first().map(PathBuf::from), Browser::start()) else {
        println!("give it the name of a file to write, and install chromium");
        return ExitCode::FAILURE;
    };
    let (place, port, kv) = (place(), free_port(), free_port());
    let machine = place.path().join("shop");
    boot(&machine, &example("kv/kv.abide"), &["--grant", &format!("tcp-listen:{kv}")]);
    let mut life = Life::of(abide(["start", machine.to_str().unwrap(), "--dashboard", &port.to_string()]));
    let mut owner = life.talk(&machine);
    let mut page = browser.open(&format!("http://127.0.0.1:{port}/"));
    page.wait_until("document.getElementById('state').dataset.state === 'live'");
    let end = Instant::now() + LIFE;
    let clients: Vec<_> = (0..7).map(|number| thread::spawn(move || shop(kv, number, end))).collect();
    while Instant::now() < end - Duration::from_secs(6) {
        tell(&mut owner);
        sleep(Duration::from_millis(700));
    }
    let picture = page.picture(SIZE.0, SIZE.1, args.iter().any(|arg| arg == "dark"));
    std::fs::write(&file, &picture).unwrap();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let _ = life.stop();
    println!("{}: {} KB", file.display(), picture.len().div_ceil(1000));
    ExitCode::SUCCESS
}

fn tell(owner: &mut Talk) {
    let _ = owner.say("", "INCR visits");
}

/// A client that does this and that, now busy, now idle.
fn shop(port: u16, client: u64, end: Instant) {
    let mut line = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
    let (begun, mut number) = (Instant::now(), client);
    while Instant::now() < end {
        // The same numbers at every run, and no two clients in step.
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407 + client);
        let pick = |words: &[&'static str], shift: u32| words[usize::try_from(number >> shift).unwrap() % words.len()];
        let (name, value) = (pick(&NAMES, 40), pick(&VALUES, 45));
        match (number >> 33) % 20 {
            0..9 => ask(&mut line, &["SET", name, value]),
            9..12 => ask(&mut line, &["SET", name, value, "EX", "20"]),
            12..18 => ask(&mut line, &["GET", name]),
            18 => ask(&mut line, &["TTL", name]),
            _ => ask(&mut line, &["DEL", name]),
        }
        let wave = (begun.elapsed().as_secs_f64() / 8.0).sin().powi(2);
        sleep(Duration::from_secs_f64(0.004 + wave * 0.1 + (number >> 50) as f64 / 1e6));
    }
}

fn ask(line: &mut BufReader<TcpStream>, words: &[&str]) {
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    let count = words.matches('$').count();
    line.get_mut().write_all(format!("*{count}\r\n{words}").as_bytes()).unwrap();
    let mut said = String::new();
    line.read_line(&mut said).unwrap();
    if let Some(length) = said.trim_end().strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) {
        line.read_exact(&mut vec![0; length + 2]).unwrap();
    }
}
