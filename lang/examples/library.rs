//! How long the base library takes to be there, its assertions held to: `cargo run --release -p lang --example library`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

use std::time::Instant;

use lang::eval::Limits;
use lang::session::Session;

fn main() {
    for _ in 0..3 {
        let start = Instant::now();
        let session = Session::new(Limits::default(), Box::new(|_| Err("there are no files".to_owned()))).unwrap();
        println!("{:?}, {} names", start.elapsed(), session.environment().iter().count());
    }
    if let Some(file) = std::env::args().nth(1) {
        let mut session = Session::new(Limits::default(), Box::new(|_| Err("there are no files".to_owned()))).unwrap();
        let source = std::fs::read_to_string(&file).unwrap();
        match session.run(&source) {
            Ok(outcome) => println!("{} assertions, {:?}", outcome.assertions, outcome.values),
            Err(error) => println!("{}", error.render(&file, &source)),
        }
    }
}
