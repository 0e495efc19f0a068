//! The world of a run: real clusters, engines between them, a load, and eyes on all of it.
//!
//! Guangzhou is the source, three brokers; Shanghai is a target of three that is hurt; Beijing is a target of one broker that
//! never is, and must not be held up by what happens to Shanghai. A run has a topic of its own.

use std::sync::LazyLock;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::disk::Disk;
use super::ledger::{Copy, Findings, Source};
use super::load::{Claims, Load, Millis, now};
use super::watch::{Look, Offsets, Watch};
use crate::support::cluster::Cluster;
use crate::support::config::{Config, route_name};
use crate::support::engine::{Engine, Finished, MEMORY_BESIDES};
use crate::support::topic::Topic;
use crate::support::trio::Trio;
use crate::support::turns::Turn;
use crate::support::{seconds, within_at};

pub const PARTITIONS: i32 = 6;
/// Records per second.
pub const RATE: i64 = 1_000;
/// What an engine may have in flight: its default, but half of it.
const IN_FLIGHT: u64 = 32 << 20;
/// The least that a record occupies in flight; it bounds how many there can be.
const LEAST_RECORD: u64 = 64;
/// How old the oldest record may be that a target has not acknowledged, when all is well: it commits every second, and is
/// looked at five times a second.
pub const WELL: Millis = 2_500;
/// How long a target that nobody hurts may be held up.
pub const HELD_UP: Millis = 5_000;
/// After this it does not recover at all.
const NEVER: Duration = Duration::from_secs(120);

/// What an engine logs when its partitions may be another's.
const FENCED: &str = "fenced";

/// How often what was seen is taken in.
const EYES: Duration = Duration::from_millis(100);

/// What all runs of this process share.
pub struct Clusters {
    pub guangzhou: Trio,
    pub shanghai: Trio,
    pub beijing: Cluster,
    /// The small disk of one of Shanghai's brokers, or why there is none.
    pub disk: Result<Disk, String>,
}

/// The broker of Shanghai that has it.
pub const SMALL_DISK: u16 = 3;

static CLUSTERS: LazyLock<Clusters> = LazyLock::new(|| {
    std::thread::scope(|scope| {
        let guangzhou = scope.spawn(|| Trio::start("guangzhou"));
        let beijing = scope.spawn(|| Cluster::start("beijing"));
        let mut disk = Err("no broker has asked for one".to_owned());
        let shanghai = Trio::start_on("shanghai", |id, folder| {
            if id == SMALL_DISK {
                disk = Disk::mount(&folder.join("data"));
            }
        });
        Clusters { guangzhou: guangzhou.join().unwrap(), shanghai, beijing: beijing.join().unwrap(), disk }
    })
});

/// A target, and what is known of it.
pub struct Target {
    pub name: &'static str,
    topic: Topic,
    watch: Watch,
    copy: Copy,
    /// The looks of the present stretch.
    looks: Vec<Look>,
    /// Those whose records have not been read yet.
    unjudged: Vec<(Offsets, Offsets)>,
    watermarks: Offsets,
}

/// An engine's death, by which records may come twice.
#[derive(Clone, Debug)]
struct Crash {
    /// Whether it will find itself fenced, by which no more comes twice.
    is_freeze: bool,
    /// Records that the target had not acknowledged, as far as was known, by target.
    backlog: Vec<usize>,
}

/// A run.
pub struct World {
    _turn: Turn,
    pub clusters: &'static Clusters,
    pub seed: u64,
    pub topic: Topic,
    config: Config,
    engines: Vec<Option<Engine>>,
    load: Load,
    targets: Vec<Target>,
    source: Source,
    crashes: Vec<Crash>,
    /// How often engines have lost what they had to others, or had to think so, in this stretch and by those that have ended.
    fences: usize,
    /// The same up to this stretch.
    fences_before: usize,
    /// Whether the present stretch has one fault only.
    pub alone: bool,
    peak_memory: u64,
}

impl World {
    /// Waits for its turn; heals the clusters, and starts a run with engines that share its route.
    pub fn begin(name: &str, seed: u64, engines: usize) -> Self {
        let turn = Turn::alone();
        let clusters = &*CLUSTERS;
        clusters.heal();
        let topic = clusters.guangzhou.topic(&format!("chaos.{name}.{seed}")).create(PARTITIONS);
        let config = Config::new()
            .trio("guangzhou", &clusters.guangzhou)
            .trio("shanghai", &clusters.shanghai)
            .cluster("beijing", &clusters.beijing)
            .fan_out("guangzhou", &topic.name, &["shanghai", "beijing"])
            .set("", "limits", json!({ "in_flight": format!("{}MiB", IN_FLIGHT >> 20) }));
        let targets = [clusters.shanghai.topic(&topic.name), clusters.beijing.topic(&topic.name)];
        let targets = ["shanghai", "beijing"].into_iter().zip(targets);
        let mut world = Self {
            _turn: turn,
            clusters,
            seed,
            targets: targets.map(|(name, target)| Target::watch(name, &topic, target)).collect(),
            load: Load::start(&topic, PARTITIONS, RATE),
            topic,
            config,
            engines: Vec::new(),
            source: Source::default(),
            crashes: Vec::new(),
            fences: 0,
            fences_before: 0,
            alone: true,
            peak_memory: 0,
        };
        world.have_engines(engines);
        world.recover(now());
        world
    }

    /// Has so many engines share the route: starts more, or has the last ones drain and end.
    pub fn have_engines(&mut self, count: usize) {
        while self.engines.len() > count {
            self.terminate_engine(self.engines.len() - 1);
            self.engines.pop();
        }
        while self.engines.len() < count {
            self.engines.push(None);
            self.start_engine(self.engines.len() - 1);
        }
    }

    /// How many engines there are, running or not.
    pub fn engines(&self) -> usize {
        self.engines.len()
    }

    pub fn engine(&self, engine: usize) -> &Engine {
        self.engines[engine].as_ref().expect("it runs")
    }

    pub fn start_engine(&mut self, engine: usize) {
        self.engines[engine] = Some(Engine::run(&self.config));
    }

    /// SIGKILL.
    pub fn kill_engine(&mut self, engine: usize) {
        self.crashed(false);
        let killed = self.engines[engine].take().expect("it runs");
        self.note_end(&killed.kill());
    }

    /// SIGTERM. What it could not finish in time it may repeat; alone it has to finish.
    pub fn terminate_engine(&mut self, engine: usize) {
        if !self.alone {
            self.crashed(false);
        }
        let ended = self.engines[engine].take().expect("it runs");
        ended.terminate();
        let ended = ended.wait(seconds(60));
        let ended = if self.alone { ended.assert_code(0) } else { ended };
        self.note_end(&ended);
    }

    /// SIGSTOP, for longer than a member of a group may be silent: when it thaws, it may not go on.
    pub fn freeze_engine(&mut self, engine: usize) {
        self.crashed(true);
        self.engine(engine).freeze();
    }

    /// Notes what may come twice as an engine loses what it knows.
    fn crashed(&mut self, is_freeze: bool) {
        self.observe();
        let backlog = self.targets.iter().map(|target| self.load.claims().beyond(&target.watermarks)).collect();
        self.crashes.push(Crash { is_freeze, backlog });
    }

    fn note_end(&mut self, ended: &Finished) {
        self.peak_memory = self.peak_memory.max(ended.peak_memory());
        let log = ended.log();
        self.fences += log.with_message(FENCED).len();
        let failed = log.made_anew("route");
        assert!(failed.is_empty(), "whatever happens outside, no route fails by itself: {failed:?}");
    }

    /// How often an engine was fenced in this stretch.
    fn fences(&mut self) -> usize {
        let running = self.engines.iter().flatten().map(|engine| engine.log().with_message(FENCED).len());
        let all = running.sum::<usize>() + self.fences;
        all - std::mem::replace(&mut self.fences_before, all)
    }

    /// Lets time pass, with all eyes open.
    pub fn pass(&mut self, time: Duration) {
        within_at(EYES, time, || {
            self.observe();
            None::<()>
        });
    }

    /// Takes in what was seen since the last time. Whatever happens, engines run, and watermarks do not fall.
    pub fn observe(&mut self) {
        for engine in self.engines.iter_mut().flatten() {
            engine.assert_running();
            self.peak_memory = self.peak_memory.max(engine.peak_memory());
        }
        self.load.take_in();
        for target in &mut self.targets {
            target.take_in();
        }
    }

    /// Waits until nothing of the last fault is left, and so many engines share the route.
    pub fn calm(&mut self, engines: usize) {
        self.clusters.guangzhou.wait_until_whole();
        self.clusters.shanghai.wait_until_whole();
        self.clusters.guangzhou.balance();
        self.clusters.shanghai.balance();
        self.alone = true;
        self.have_engines(engines);
        let shared = within_at(EYES, NEVER, || {
            self.observe();
            let shares = self.engines.iter().flatten().map(|engine| engine.log().share().len());
            let even = usize::try_from(PARTITIONS).unwrap() / engines;
            let all = shares.clone().sum::<usize>() == usize::try_from(PARTITIONS).unwrap();
            (all && shares.min() == Some(even)).then_some(())
        });
        assert!(shared.is_some(), "{engines} engines do not share the partitions evenly within {NEVER:?}");
        self.recover(now());
    }

    /// Waits until every target has acknowledged, of each partition, a record that the source took after `since`, and is as
    /// close behind as when all is well. How long that took, for the slowest.
    pub fn recover(&mut self, since: Millis) -> Millis {
        let recovered = within_at(EYES, NEVER, || {
            self.observe();
            let all = self.targets.iter().map(|target| target.recovered(since, self.load.claims()));
            all.collect::<Option<Vec<Millis>>>()
        });
        let recovered = recovered.unwrap_or_else(|| panic!("no recovery within {NEVER:?}:\n{}", self.lags()));
        recovered.into_iter().max().unwrap_or(since) - since
    }

    fn lags(&self) -> String {
        let lag = |target: &Target| {
            let look = target.looks.last()?;
            Some(format!(
                "{} was {} ms behind {} ms ago, at {:?}",
                target.name,
                look.lag(self.load.claims()),
                now() - look.told,
                look.watermarks
            ))
        };
        self.targets.iter().filter_map(lag).collect::<Vec<_>>().join("\n")
    }

    /// The most that a target was behind between two times.
    pub fn worst_lag(&self, target: &str, from: Millis, to: Millis) -> Millis {
        let target = self.targets.iter().find(|known| known.name == target).expect("it is one of the targets");
        let looks = target.looks.iter().filter(|look| (from..=to).contains(&look.told));
        looks.map(|look| look.lag(self.load.claims())).max().unwrap_or(0)
    }

    /// Waits until the targets have all that is there now, compares it, and begins a new stretch. How many records came twice,
    /// and how many may have.
    pub fn audit(&mut self) -> (usize, usize) {
        let ends: Offsets = self.topic.offsets().into_iter().map(|(partition, (_, end))| (partition, end)).collect();
        let level = within_at(EYES, NEVER, || {
            self.observe();
            let level = |target: &Target| {
                ends.iter().all(|(partition, end)| target.watermarks.get(partition).is_some_and(|at| at >= end))
            };
            self.targets.iter().all(level).then_some(())
        });
        assert!(level.is_some(), "not all is acknowledged within {NEVER:?}:\n{}", self.lags());
        // The source is read last: what has arrived is there then.
        let arrived: Vec<_> = self.targets.iter_mut().map(|target| target.copy.read_on(&target.topic)).collect();
        self.source.read_on(&self.topic);
        self.source.assert_has(self.load.claims());
        let crashes = std::mem::take(&mut self.crashes);
        let fences = self.fences().saturating_sub(crashes.iter().filter(|crash| crash.is_freeze).count());
        let (mut duplicates, mut allowed) = (0, 0);
        for (index, (target, arrived)) in self.targets.iter_mut().zip(arrived).enumerate() {
            let before = target.copy.findings().duplicated;
            target.copy.compare(arrived, &self.source);
            target.copy.find_missing(&ends);
            target.judge();
            let found = target.copy.findings();
            assert_eq!(found.wrong(), 0, "{}: {found}", target.name);
            let twice = found.duplicated - before;
            let by_crashes: usize = crashes.iter().map(|crash| target.most_twice(crash.backlog[index])).sum();
            // engines that were fenced at the same time had different partitions
            let times = fences.div_ceil(self.engines.len());
            let most = by_crashes + times * target.most_twice(target.most_beyond(self.load.claims()));
            let why = || format!("{crashes:?}, {fences} times fenced");
            assert!(twice <= most, "{}: {twice} records came twice, {most} may have: {}", target.name, why());
            duplicates += twice;
            allowed += most;
            target.looks.clear();
        }
        self.assert_memory();
        (duplicates, allowed)
    }

    /// Ends the run: the load, the last record, the engines. What was found of each target.
    pub fn end(mut self) -> Summary {
        self.load.stop();
        self.audit();
        assert_eq!(self.source.assert_has(self.load.claims()), 0, "all that was acknowledged has been read");
        for engine in 0..self.engines.len() {
            self.alone = true;
            self.terminate_engine(engine);
        }
        self.assert_memory();
        Summary {
            acknowledged: self.load.claims().count(),
            source: self.source.count(),
            targets: self.targets.iter().map(|target| (target.name, target.copy.findings().clone())).collect(),
            peak_memory: self.peak_memory,
        }
    }

    fn assert_memory(&self) {
        let most = IN_FLIGHT + MEMORY_BESIDES;
        assert!(self.peak_memory <= most, "an engine took {} bytes of memory, {most} are allowed", self.peak_memory);
    }
}

/// What there is to say of a run that has ended.
#[derive(Debug)]
pub struct Summary {
    pub acknowledged: usize,
    pub source: usize,
    pub targets: Vec<(&'static str, Findings)>,
    pub peak_memory: u64,
}

impl Clusters {
    /// Whatever the last run did to them.
    fn heal(&self) {
        self.guangzhou.heal();
        if let Ok(disk) = &self.disk {
            disk.clear();
        }
        self.shanghai.heal();
        self.beijing.heal();
    }
}

impl Target {
    fn watch(name: &'static str, source: &Topic, topic: Topic) -> Self {
        let group = format!("anabranch.{}.{name}", route_name(&source.name));
        let watch = Watch::start(source, &topic, &group, PARTITIONS);
        Self {
            name,
            topic,
            watch,
            copy: Copy::default(),
            looks: Vec::new(),
            unjudged: Vec::new(),
            watermarks: Offsets::new(),
        }
    }

    fn take_in(&mut self) {
        for look in self.watch.looks() {
            assert!(look.falls.is_empty(), "{}: {}", self.name, look.falls.join("; "));
            self.watermarks.extend(&look.watermarks);
            self.unjudged.extend(look.ends.clone().map(|ends| (look.watermarks.clone(), ends)));
            self.looks.push(look);
        }
    }

    /// Checks the looks whose records have been read.
    fn judge(&mut self) {
        for (watermarks, ends) in std::mem::take(&mut self.unjudged) {
            if self.copy.has_read(&ends) {
                self.copy.judge(&watermarks, &ends);
            } else {
                self.unjudged.push((watermarks, ends));
            }
        }
        let first = self.unjudged.first().map(|(_, ends)| ends.clone());
        if let Some(ends) = first.or_else(|| self.looks.iter().rev().find_map(|look| look.ends.clone())) {
            self.copy.forget(&ends);
        }
    }

    /// When it was seen to have recovered from what was over at `since`.
    fn recovered(&self, since: Millis, claims: &Claims) -> Option<Millis> {
        let well = |look: &&Look| {
            look.asked >= since
                && look.lag(claims) <= WELL
                && (0..PARTITIONS).all(|partition| {
                    let fresh = claims.first_after(partition, since);
                    fresh.is_some_and(|claim| look.watermarks.get(&partition).is_some_and(|at| *at > claim.offset))
                })
        };
        self.looks.iter().find(well).map(|look| look.told)
    }

    /// The most records that it had not acknowledged in this stretch.
    fn most_beyond(&self, claims: &Claims) -> usize {
        self.looks.iter().map(|look| claims.beyond_at(&look.watermarks, look.told)).max().unwrap_or(0)
    }

    /// How many records an engine that dies may repeat: what was with the writer and what was acknowledged in the second since
    /// the last commit, with a second for the commit itself; never more than was not acknowledged.
    fn most_twice(&self, backlog: usize) -> usize {
        let ends: Vec<(Millis, i64)> =
            self.looks.iter().filter_map(|look| Some((look.told, look.ends.as_ref()?.values().sum()))).collect();
        let rises = ends.iter().enumerate().flat_map(|(index, (from, low))| {
            ends[index..].iter().take_while(move |(to, _)| to - from <= 2_000).map(move |(_, high)| high - low)
        });
        let steepest = usize::try_from(rises.max().unwrap_or(0)).unwrap_or(0);
        let in_flight = usize::try_from(IN_FLIGHT / LEAST_RECORD).unwrap();
        // records that were there and not yet acknowledged to the load are not in the backlog
        let unclaimed = usize::try_from(RATE / 2).unwrap();
        (backlog + unclaimed).min(in_flight + steepest)
    }
}

impl Look {
    /// How far behind the slowest partition is.
    fn lag(&self, claims: &Claims) -> Millis {
        let of = |partition| {
            let watermark = self.watermarks.get(&partition).copied().unwrap_or(0);
            claims.lag(partition, watermark, self.told)
        };
        (0..PARTITIONS).map(of).max().unwrap_or(0)
    }
}

/// A number from the dice, both ends included.
pub fn between(dice: &mut Rng, least: u64, most: u64) -> u64 {
    dice.u64(least..=most)
}
