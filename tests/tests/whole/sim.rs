//! Simulated lives. `ABIDE_SIM_SEEDS=100000` lives more of them, `ABIDE_SIM_SEED=42` one, with everything that happens in it.

use std::ops::Range;

use persist::planted::Bug;
use tests::sim::plan::Plan;
use tests::sim::sweep::{explain, on_a_guest_thread, sweep, try_live};

const SEEDS: u64 = 10_000;

/// `ABIDE_SIM_SEED=42`, `ABIDE_SIM_SEEDS=5000` or `ABIDE_SIM_SEEDS=5000..6000`.
fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} is not a number of a seed"));
    if let Ok(seed) = std::env::var("ABIDE_SIM_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("ABIDE_SIM_SEEDS") {
        Ok(range) => range.split_once("..").map_or_else(|| 0..number(&range), |(from, to)| number(from)..number(to)),
        Err(_) => 0..SEEDS,
    }
}

#[test]
fn ten_thousand_lives_keep_every_promise() {
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let folder = tempfile::tempdir().unwrap();
    // Native code is only believed from a folder that nobody else can enter; the engine makes such a one.
    let native = folder.path().join("native");
    let swept = sweep(seeds, &native, None);
    println!("{} lives, {} processes, {} batches, {} records", swept.lives, swept.runs, swept.batches, swept.records);
    println!("{}", swept.coverage);
    if let Some((seed, failure)) = swept.failed {
        panic!("{}", explain(seed, &failure, &native));
    }
    if count >= SEEDS {
        assert_eq!(swept.coverage.missing(), [""; 0], "the net has holes: these never happened");
    }
}

/// The net has no holes: each of these bugs is found among far fewer lives than the test above lives.
#[test]
fn every_planted_bug_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let native = folder.path().join("native");
    let mut unfound = Vec::new();
    for bug in Bug::ALL {
        let swept = sweep(0..SEEDS, &native, Some(bug));
        match swept.failed {
            Some((seed, failure)) => println!("{bug:?}: {} lives, seed {seed}: {}", swept.lives, failure.promise),
            None => unfound.push(bug),
        }
    }
    assert_eq!(unfound, []);
}

#[test]
fn a_plan_follows_from_its_seed() {
    let (one, same, other) = (Plan::new(7), Plan::new(7), Plan::new(8));
    assert_eq!(one.actions, same.actions);
    assert_ne!(one.actions, other.actions);
}

/// Byte for byte: every event with its time, every record with its cost, every release.
/// Where in its code a step was when it ran out of time, the host's clock decides and not the seed: the one thing that two lives may tell differently.
fn without_places(trace: &str) -> String {
    let mut parts = trace.split(" of CPU time (in ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| told + " of CPU time" + part.split_once(')').map_or("", |(_, rest)| rest))
}

#[test]
fn a_life_follows_from_its_seed() {
    let folder = tempfile::tempdir().unwrap();
    let native = folder.path().join("native");
    for seed in 0..20 {
        let plan = Plan::new(seed);
        let traces = [(); 2].map(|()| without_places(&on_a_guest_thread(|| try_live(&plan, &native, true).0.trace)));
        assert!(traces[0].len() > 1000, "seed {seed} leaves a trace");
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}
