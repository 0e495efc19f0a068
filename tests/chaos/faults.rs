//! The faults, by their names: what each does, for how long, and how it is undone. Where it strikes is the seed's to say.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::world::{PARTITIONS, SMALL_DISK, World, between};
use crate::support::agent::ask;
use crate::support::config::route_name;
use crate::support::proxy::{Blackhole, Impairment, Weather};
use crate::support::trio::Trio;
use crate::support::within;

/// Whom a fault hurts. Faults that hurt different ones can come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurts {
    Source,
    /// Shanghai; Beijing must not be held up.
    Target,
    Engine,
}

/// A named fault.
pub struct Fault {
    pub name: &'static str,
    pub hurts: Hurts,
    /// Whether the target that it hurts must not be held up either.
    pub is_mild: bool,
    /// How many engines have to share the route; any number where `None`.
    pub engines: Option<usize>,
    begin: fn(&mut World, &mut Rng) -> Begun,
}

/// A fault that has begun.
pub struct Begun {
    /// Where it struck, for people.
    pub what: String,
    /// How long it lasts before it is undone.
    pub hold: Duration,
    undo: Undo,
}

type Undo = Box<dyn FnOnce(&mut World)>;

impl Fault {
    pub fn begin(&self, world: &mut World, dice: &mut Rng) -> Begun {
        (self.begin)(world, dice)
    }

    /// Why it can't be had here, if it can't.
    pub fn missing(&self, world: &World) -> Option<String> {
        if self.name == "disk_full" { world.clusters.disk.as_ref().err().cloned() } else { None }
    }
}

impl Begun {
    fn new(what: String, hold_ms: u64, undo: impl FnOnce(&mut World) + 'static) -> Self {
        Self { what, hold: Duration::from_millis(hold_ms), undo: Box::new(undo) }
    }

    /// Ends it. When this returns, all that was down runs again.
    pub fn undo(self, world: &mut World) {
        (self.undo)(world);
    }
}

const fn fault(name: &'static str, hurts: Hurts, begin: fn(&mut World, &mut Rng) -> Begun) -> Fault {
    Fault { name, hurts, is_mild: false, engines: None, begin }
}

const fn engine_fault(name: &'static str, engines: usize, begin: fn(&mut World, &mut Rng) -> Begun) -> Fault {
    Fault { engines: Some(engines), ..fault(name, Hurts::Engine, begin) }
}

/// All of them.
pub const FAULTS: &[Fault] = &[
    fault("source_broker_killed", Hurts::Source, |world, dice| broker_killed(world, dice, source)),
    fault("source_broker_frozen", Hurts::Source, |world, dice| broker_frozen(world, dice, source)),
    fault("source_rolling_restart", Hurts::Source, |_, dice| rolling_restart(dice, source)),
    fault("source_leader_moves", Hurts::Source, |world, dice| leader_moves(world, dice, source)),
    fault("source_controller_lost", Hurts::Source, |world, dice| controller_lost(world, dice, source)),
    fault("coordinator_lost", Hurts::Source, coordinator_lost),
    fault("target_broker_killed", Hurts::Target, |world, dice| broker_killed(world, dice, shanghai)),
    fault("target_broker_frozen", Hurts::Target, |world, dice| broker_frozen(world, dice, shanghai)),
    fault("target_rolling_restart", Hurts::Target, |_, dice| rolling_restart(dice, shanghai)),
    fault("target_leader_moves", Hurts::Target, |world, dice| leader_moves(world, dice, shanghai)),
    fault("target_controller_lost", Hurts::Target, |world, dice| controller_lost(world, dice, shanghai)),
    fault("target_gone", Hurts::Target, target_gone),
    Fault { is_mild: true, ..fault("wan_latency", Hurts::Target, wan_latency) },
    fault("target_blackholed", Hurts::Target, target_blackholed),
    fault("connections_reset", Hurts::Source, connections_reset),
    engine_fault("engine_killed", 1, |world, dice| engine_killed(world, dice, 0..=4_000)),
    engine_fault("engine_frozen", 1, engine_frozen),
    engine_fault("engine_terminated", 1, engine_terminated),
    engine_fault("one_of_two_killed", 2, |world, dice| engine_killed(world, dice, 8_000..=12_000)),
    engine_fault("zombie", 2, engine_frozen),
    engine_fault("rebalances", 2, rebalances),
    fault("disk_full", Hurts::Target, disk_full),
    fault("quota", Hurts::Target, quota),
];

/// A fault by its name.
pub fn named(name: &str) -> &'static Fault {
    FAULTS.iter().find(|fault| fault.name == name).unwrap_or_else(|| {
        let names: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        panic!("no fault is called {name}; there are {}", names.join(", "))
    })
}

type Side = fn(&World) -> &'static Trio;

fn source(world: &World) -> &'static Trio {
    &world.clusters.guangzhou
}

fn shanghai(world: &World) -> &'static Trio {
    &world.clusters.shanghai
}

/// A broker that leads something of this run.
fn some_leader(world: &World, dice: &mut Rng, side: Side) -> u16 {
    let partition = dice.i32(0..PARTITIONS);
    side(world).leader(&world.topic.name, partition).unwrap_or_else(|| dice.u16(1..=3))
}

fn broker_killed(world: &mut World, dice: &mut Rng, side: Side) -> Begun {
    let broker = some_leader(world, dice, side);
    kill(world, broker, between(dice, 1_000, 9_000), side)
}

fn kill(world: &World, broker: u16, hold_ms: u64, side: Side) -> Begun {
    let trio = side(world);
    trio.node(broker).broker.kill();
    let what = format!("broker {broker} of {}", trio.name());
    Begun::new(what, hold_ms, move |world| side(world).restart(broker))
}

/// Shorter and longer than it takes the controller to notice.
fn broker_frozen(world: &mut World, dice: &mut Rng, side: Side) -> Begun {
    let broker = some_leader(world, dice, side);
    let trio = side(world);
    trio.node(broker).broker.freeze();
    let what = format!("broker {broker} of {}", trio.name());
    Begun::new(what, between(dice, 2_000, 12_000), move |world| side(world).node(broker).broker.thaw())
}

fn rolling_restart(dice: &mut Rng, side: Side) -> Begun {
    let mut brokers = [1, 2, 3];
    dice.shuffle(&mut brokers);
    Begun::new(format!("brokers {brokers:?} in turn"), 0, move |world| {
        for broker in brokers {
            let trio = side(world);
            trio.node(broker).broker.stop();
            trio.restart(broker);
            trio.wait_until_whole();
            world.observe();
        }
    })
}

fn leader_moves(world: &mut World, dice: &mut Rng, side: Side) -> Begun {
    let mut moves = Vec::new();
    for _ in 0..5 {
        let (partition, step) = (dice.i32(0..PARTITIONS), dice.u16(1..=2));
        let trio = side(world);
        if let Some(from) = trio.leader(&world.topic.name, partition) {
            let to = (from - 1 + step) % 3 + 1;
            trio.move_leader(&world.topic.name, partition, to);
            moves.push(format!("{partition} from {from} to {to}"));
        }
        world.pass(Duration::from_millis(dice.u64(0..800)));
    }
    Begun::new(moves.join(", "), 0, |_| {})
}

fn controller_lost(world: &mut World, dice: &mut Rng, side: Side) -> Begun {
    let controller = side(world).controller();
    kill(world, controller, between(dice, 1_000, 9_000), side)
}

fn coordinator_lost(world: &mut World, dice: &mut Rng) -> Begun {
    let group = format!("anabranch.{}.shanghai", route_name(&world.topic.name));
    let trio = source(world);
    let coordinator = trio.coordinator(&group).expect("somebody coordinates the groups");
    if dice.bool() {
        return kill(world, coordinator, between(dice, 1_000, 9_000), source);
    }
    trio.node(coordinator).broker.freeze();
    let what = format!("broker {coordinator} of {}, frozen", trio.name());
    Begun::new(what, between(dice, 2_000, 12_000), move |world| source(world).node(coordinator).broker.thaw())
}

fn target_gone(world: &mut World, dice: &mut Rng) -> Begun {
    let nodes = shanghai(world).nodes();
    let hold_ms = between(dice, 3_000, 15_000);
    if dice.bool() {
        for node in nodes {
            node.broker.freeze();
        }
        return Begun::new("frozen".to_owned(), hold_ms, |world| {
            for node in shanghai(world).nodes() {
                node.broker.thaw();
            }
        });
    }
    for node in nodes {
        node.broker.kill();
    }
    Begun::new("killed".to_owned(), hold_ms, |world| shanghai(world).restart_all(&[1, 2, 3]))
}

fn wan_latency(world: &mut World, dice: &mut Rng) -> Begun {
    set(shanghai(world), Weather::round_trip(Duration::from_millis(100)));
    Begun::new("100 ms".to_owned(), between(dice, 6_000, 12_000), |world| set(shanghai(world), Weather::default()))
}

fn target_blackholed(world: &mut World, dice: &mut Rng) -> Begun {
    let blackhole = if dice.bool() { Blackhole::Holds } else { Blackhole::Swallows };
    let hole = Impairment { blackhole: Some(blackhole), ..Impairment::default() };
    let up = dice.bool();
    let weather =
        if up { Weather { up: hole, ..Weather::default() } } else { Weather { down: hole, ..Weather::default() } };
    set(shanghai(world), weather);
    let what = format!("{} the target, {blackhole:?}", if up { "to" } else { "from" });
    Begun::new(what, between(dice, 3_000, 15_000), |world| set(shanghai(world), Weather::default()))
}

fn set(trio: &Trio, weather: Weather) {
    for node in trio.nodes() {
        node.proxy.set(weather);
    }
}

fn connections_reset(world: &mut World, dice: &mut Rng) -> Begun {
    let sides: &[Side] = [&[source as Side][..], &[shanghai], &[source, shanghai]][dice.usize(0..3)];
    let mut what = Vec::new();
    for _ in 0..5 {
        for side in sides {
            let node = side(world).node(dice.u16(1..=3));
            node.proxy.reset();
            what.push(format!("{}-{}", side(world).name(), node.broker.id()));
        }
        world.pass(Duration::from_millis(dice.u64(0..1_000)));
    }
    Begun::new(what.join(", "), 0, |_| {})
}

fn some_engine(world: &World, dice: &mut Rng) -> usize {
    dice.usize(0..world.engines())
}

fn engine_killed(world: &mut World, dice: &mut Rng, hold_ms: RangeInclusive<u64>) -> Begun {
    let engine = some_engine(world, dice);
    world.kill_engine(engine);
    Begun::new(format!("engine {engine}"), dice.u64(hold_ms), move |world| world.start_engine(engine))
}

/// For longer than a member of a group may be silent: what it had is not its own any more when it thaws, or it has to ask
/// whether it is.
fn engine_frozen(world: &mut World, dice: &mut Rng) -> Begun {
    let engine = some_engine(world, dice);
    world.freeze_engine(engine);
    Begun::new(format!("engine {engine}"), between(dice, 7_000, 12_000), move |world| world.engine(engine).thaw())
}

/// Engines join and leave under load; all that leave finish what they have.
fn rebalances(world: &mut World, dice: &mut Rng) -> Begun {
    let mut what = Vec::new();
    for _ in 0..3 {
        let joins = world.engines() < 2 || world.engines() < 4 && dice.bool();
        world.have_engines(if joins { world.engines() + 1 } else { world.engines() - 1 });
        what.push(world.engines().to_string());
        world.pass(Duration::from_millis(dice.u64(500..4_000)));
    }
    Begun::new(format!("{} engines", what.join(", ")), 0, |world| world.have_engines(2))
}

fn engine_terminated(world: &mut World, dice: &mut Rng) -> Begun {
    let engine = some_engine(world, dice);
    world.terminate_engine(engine);
    Begun::new(format!("engine {engine}"), between(dice, 0, 4_000), move |world| world.start_engine(engine))
}

/// The broker stops by itself when it can't write; it is started again when there is room.
fn disk_full(world: &mut World, dice: &mut Rng) -> Begun {
    let disk = world.clusters.disk.as_ref().expect("it was asked for before");
    disk.fill();
    let what = format!("broker {SMALL_DISK} of shanghai");
    Begun::new(what, between(dice, 5_000, 10_000), |world| {
        let broker = &shanghai(world).node(SMALL_DISK).broker;
        let stopped = within(Duration::from_secs(10), || broker.has_ended().then_some(()));
        assert!(stopped.is_some(), "a broker runs on though its disk is full");
        world.clusters.disk.as_ref().expect("it was filled").clear();
        shanghai(world).restart(SMALL_DISK);
    })
}

/// A fifth of what is written, for each broker and client.
fn quota(world: &mut World, dice: &mut Rng) -> Begun {
    const BYTES_PER_SECOND: u64 = 10_000;
    limit(shanghai(world), Some(BYTES_PER_SECOND));
    let what = format!("{BYTES_PER_SECOND} bytes a second");
    Begun::new(what, between(dice, 6_000, 12_000), |world| limit(shanghai(world), None))
}

fn limit(trio: &Trio, bytes_per_second: Option<u64>) {
    let quota = json!({ "quota": "producer_byte_rate", "bytes_per_second": bytes_per_second });
    ask("alter_quota", trio.request(quota));
}
