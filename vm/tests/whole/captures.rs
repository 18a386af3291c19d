//! However little is looked at to find the written pages: the same steps lead to the same roots.

use std::collections::HashMap;
use std::sync::Arc;

use seed::image::{INTERFACE, Limits, Program};
use seed::object::{Link, Objects, encode_blob};
use seed::{Domain, Id, LoadError, Nanos};
use vm::body::Body;
use vm::engine::{Backend, Mode, Settings};
use vm::memory::Tracker;
use vm::prepare::Memo;

/// Its input, the hash that an import writes, and its own writes lie elsewhere in each step, in 4 MiB that nobody else touches.
const WANDERER: &str = r#"
(module
  (import "abide" "blake3_256" (func $hash (param i32 i32 i32)))
  (memory (export "memory") 64)
  (global $step (mut i32) (i32.const 0))
  (func $place (param $stride i32) (result i32)
    (i32.shl (i32.rem_u (i32.mul (global.get $step) (local.get $stride)) (i32.const 63)) (i32.const 16)))
  (func (export "abide_alloc") (param i32) (result i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (i32.add (call $place (i32.const 5)) (i32.const 1000)))
  (func (export "abide_step") (param $ptr i32) (param $len i32) (result i64)
    (call $hash (local.get $ptr) (local.get $len) (i32.add (call $place (i32.const 17)) (i32.const 2000)))
    (memory.copy (i32.add (call $place (i32.const 23)) (i32.const 3000)) (local.get $ptr) (local.get $len))
    (i32.store8 (i32.add (call $place (i32.const 41)) (i32.const 4000)) (i32.const 0x80))
    (i64.or (i64.shl (i64.extend_i32_u (i32.add (call $place (i32.const 41)) (i32.const 4000))) (i64.const 32)) (i64.const 1))))
"#;

struct Shelf(HashMap<Link, Vec<u8>>);

impl Objects for Shelf {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        self.0.get(&(domain, *id)).cloned().ok_or(LoadError::Missing { domain, id: *id })
    }
}

/// The roots after each of many steps. Some steps are taken back.
fn roots(backend: Backend, tracker: Tracker) -> Vec<Id> {
    let mut shelf = HashMap::new();
    let mut keep = |bytes: Vec<u8>| {
        let id = Id::of(Domain::Object, &bytes);
        shelf.insert((Domain::Object, id), bytes);
        id
    };
    let (code, genesis) = (keep(encode_blob(&wat::parse_str(WANDERER).unwrap())), keep(encode_blob(b"")));
    let program = Program { interface: INTERFACE, code, genesis, limits: Limits::default(), asks: Vec::new() };
    let root = keep(program.to_image(Vec::new()).encode());
    let settings = Settings {
        backend,
        tracker,
        cache: None,
        meter: Arc::new(|| Nanos(0)),
        elsewhere: None,
        prepared: Memo::default(),
    };
    let lost = Arc::new(|error| panic!("{error}"));
    let mut body = Body::restore(&settings, Mode::Live, Arc::new(Shelf(shelf)), &root, lost).unwrap();
    (0..120u32)
        .map(|step| {
            assert_eq!(body.execute(&step.to_le_bytes(), Mode::Live).unwrap(), [0x80]);
            if step % 7 == 6 {
                body.rewind().unwrap();
            }
            body.close().unwrap()
        })
        .collect()
}

#[test]
fn every_write_is_captured_wherever_it_lies() {
    let expected = roots(Backend::Pulley, Tracker::Compare);
    let best = Tracker::select(None).0;
    for (backend, tracker) in
        [(Backend::Cranelift, Tracker::Compare), (Backend::Cranelift, best), (Backend::CraneliftPlain, best)]
    {
        let found = roots(backend, tracker);
        let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{backend:?}, {tracker}");
    }
}
