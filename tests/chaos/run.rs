//! A run: stretches of it, each with a fault or with several, and what each of them costs.

use std::time::Duration;

use fastrand::Rng;

use super::faults::{FAULTS, Fault, Hurts, named};
use super::load::{Millis, now};
use super::report::Report;
use super::world::{HELD_UP, Summary, WELL, World};

/// What came of a fault, or of several that came together.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub faults: Vec<&'static str>,
    /// Where they struck.
    pub what: String,
    /// From the first one's begin to the last one's end.
    pub lasted: Millis,
    /// From the last one's end until all targets had recovered.
    pub recovery: Millis,
    /// The most that Shanghai was behind meanwhile.
    pub hurt_behind: Millis,
    /// The most that Beijing was.
    pub others_behind: Millis,
    pub duplicates: usize,
    pub duplicates_allowed: usize,
}

/// Says the seed when a run fails, and how to do it again.
struct Seeded(u64);

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("chaos: that was seed {0}; with ANABRANCH_SEED={0} the dice fall the same way", self.0);
        }
    }
}

/// The seed that was given with `ANABRANCH_SEED`, or one that nobody has chosen.
pub fn seed() -> u64 {
    let given = std::env::var("ANABRANCH_SEED").ok();
    given.map_or_else(|| Rng::new().u64(1..1_000_000_000), |seed| seed.parse().expect("ANABRANCH_SEED is a number"))
}

/// A run of so many of these faults, one after the other; which ones is the seed's to say.
pub fn some_of(name: &str, count: usize, faults: &[&str]) -> Summary {
    run(name, |world, dice| {
        let mut faults: Vec<&Fault> = faults.iter().map(|fault| named(fault)).collect();
        faults.retain(|fault| is_to_be_had(fault, world));
        dice.shuffle(&mut faults);
        for fault in faults.into_iter().take(count) {
            stretch(world, &[fault], dice);
        }
    })
}

/// A run in which two or three faults come at once, so many times.
pub fn at_once(name: &str, times: usize) -> Summary {
    run(name, |world, dice| {
        let all: Vec<&Fault> = FAULTS.iter().filter(|fault| is_to_be_had(fault, world)).collect();
        for _ in 0..times {
            let several = several(&all, dice);
            stretch(world, &several, dice);
        }
    })
}

fn run(name: &str, faults: impl FnOnce(&mut World, &mut Rng)) -> Summary {
    let seed = seed();
    println!("chaos: {name} with seed {seed}");
    let _seeded = Seeded(seed);
    let mut world = World::begin(name, seed, 1);
    faults(&mut world, &mut Rng::with_seed(seed));
    world.end()
}

/// A soak: all faults singly, however long that takes, and again until half of the time is up; then two or three at once.
pub fn soak(minutes: i64, only: Option<&str>) -> Report {
    let seed = seed();
    println!("chaos: {minutes} minutes with seed {seed}");
    let _seeded = Seeded(seed);
    let mut dice = Rng::with_seed(seed);
    let mut world = World::begin("soak", seed, 1);
    let (half, end) = (now() + minutes * 30_000, now() + minutes * 60_000);
    let faults = FAULTS.iter().filter(|fault| only.is_none_or(|name| name == fault.name));
    let faults: Vec<&Fault> = faults.filter(|fault| is_to_be_had(fault, &world)).collect();
    assert!(!faults.is_empty(), "no fault is left of {only:?}");
    let mut stretches = Vec::new();
    while stretches.len() < faults.len() || now() < half {
        let fault = faults[stretches.len() % faults.len()];
        stretches.push(stretch(&mut world, &[fault], &mut dice));
    }
    while now() < end {
        let together = if only.is_some() { faults.clone() } else { several(&faults, &mut dice) };
        stretches.push(stretch(&mut world, &together, &mut dice));
    }
    Report { seed, minutes, stretches, summary: world.end() }
}

fn is_to_be_had(fault: &Fault, world: &World) -> bool {
    let missing = fault.missing(world);
    if let Some(why) = &missing {
        println!("chaos: {} is skipped: {why}", fault.name);
    }
    missing.is_none()
}

/// Two or three faults, each of which hurts somebody else, in any order.
fn several<'a>(faults: &[&'a Fault], dice: &mut Rng) -> Vec<&'a Fault> {
    let mut hurt = [Hurts::Source, Hurts::Target, Hurts::Engine];
    dice.shuffle(&mut hurt);
    let count = dice.usize(2..=3);
    let chosen = hurt[..count].iter().filter_map(|hurts| {
        let candidates: Vec<&&Fault> = faults.iter().filter(|fault| fault.hurts == *hurts).collect();
        (!candidates.is_empty()).then(|| *candidates[dice.usize(0..candidates.len())])
    });
    chosen.collect()
}

/// Begins the faults one after the other, undoes them, waits for the recovery, and compares all.
fn stretch(world: &mut World, faults: &[&'static Fault], dice: &mut Rng) -> Stretch {
    let names: Vec<&'static str> = faults.iter().map(|fault| fault.name).collect();
    let engines = faults.iter().find_map(|fault| fault.engines);
    world.calm(engines.unwrap_or_else(|| dice.usize(1..=2)));
    world.alone = faults.len() == 1;
    let begun = now();
    let mut under_way = Vec::new();
    for fault in faults {
        let one = fault.begin(world, dice);
        println!("chaos: {}: {}", fault.name, one.what);
        under_way.push(one);
        if !world.alone {
            world.pass(Duration::from_millis(dice.u64(0..2_000)));
        }
    }
    let hold = under_way.iter().map(|one| one.hold).max().unwrap_or_default();
    world.pass(hold);
    let what = under_way.iter().map(|one| one.what.as_str()).collect::<Vec<_>>().join("; ");
    dice.shuffle(&mut under_way);
    for one in under_way {
        one.undo(world);
    }
    let ended = now();
    let recovery = world.recover(ended);
    let hurt_behind = world.worst_lag("shanghai", begun, ended + recovery);
    let others_behind = world.worst_lag("beijing", begun, ended + recovery);
    let at_most = WELL + HELD_UP;
    if faults.iter().all(|fault| fault.hurts == Hurts::Target) {
        assert!(others_behind <= at_most, "{names:?} held up beijing: it was {others_behind} ms behind");
    }
    if faults.iter().all(|fault| fault.is_mild) {
        assert!(hurt_behind <= at_most, "{names:?} held up shanghai: it was {hurt_behind} ms behind");
    }
    let (duplicates, duplicates_allowed) = world.audit();
    let lasted = ended - begun;
    println!(
        "chaos: {names:?}: {lasted} ms, recovery {recovery} ms, {hurt_behind} ms behind, others {others_behind} ms, \
         {duplicates} of {duplicates_allowed} duplicates"
    );
    Stretch { faults: names, what, lasted, recovery, hurt_behind, others_behind, duplicates, duplicates_allowed }
}
