//! A prepared module does what the module does; interrupted by capture and restore anywhere, it does the same.

use super::corpus::CORPUS;
use super::support::{Guest, TARGETS, engine, module};
use crate::prepare::prepare;

#[test]
fn plain_and_prepared_agree() {
    for target in TARGETS {
        let engine = engine(target);
        for (name, body, steps) in CORPUS {
            let wasm = module(body);
            let prepared = prepare(&wasm).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            let mut plain = Guest::instantiate(&engine, &wasm).unwrap();
            if prepared.state.initialize {
                plain.call("_initialize").unwrap();
            }
            let mut guest = Guest::boot(&engine, &prepared).unwrap();
            assert_eq!(plain.memory(), guest.memory(), "{name}, {target:?}");
            for (a, b) in *steps {
                assert_eq!(plain.step(*a, *b), guest.step(*a, *b), "{name} ({a}, {b}), {target:?}");
                assert_eq!(plain.memory(), guest.memory(), "{name} ({a}, {b}), {target:?}");
            }
        }
    }
}

#[test]
fn restoring_anywhere_changes_nothing() {
    for target in TARGETS {
        let engine = engine(target);
        for (name, body, steps) in CORPUS {
            let prepared = prepare(&module(body)).unwrap();
            let mut straight = Guest::boot(&engine, &prepared).unwrap();
            let mut image = Guest::boot(&engine, &prepared).unwrap().capture(&prepared.state);
            for (a, b) in *steps {
                let mut guest = Guest::restore(&engine, &prepared, &image);
                assert_eq!(guest.capture(&prepared.state), image, "{name}: restored as captured, {target:?}");
                assert_eq!(straight.step(*a, *b), guest.step(*a, *b), "{name} ({a}, {b}), {target:?}");
                image = guest.capture(&prepared.state);
                assert_eq!(straight.capture(&prepared.state), image, "{name} ({a}, {b}), {target:?}");
            }
        }
    }
}

#[test]
fn images_do_not_depend_on_the_target() {
    for (name, body, steps) in CORPUS {
        let prepared = prepare(&module(body)).unwrap();
        let images = TARGETS.map(|target| {
            let mut guest = Guest::boot(&engine(target), &prepared).unwrap();
            let mut images = Vec::new();
            for (a, b) in *steps {
                let result = guest.step(*a, *b);
                images.push((result, guest.capture(&prepared.state)));
            }
            images
        });
        assert_eq!(images[0], images[1], "{name}");
        assert_eq!(images[0], images[2], "{name}");
    }
}
