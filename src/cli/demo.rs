//! `anabranch demo`: nothing to install, nothing to configure.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::host::{Routes, host};
use super::{Exit, Failure, Outcome};
use crate::demo::proof::{Proof, compare};
use crate::demo::regions::{PARTITIONS, Regions, TARGETS, TOPIC, Weather, Written, load, target_topic};
use crate::demo::screen::Screen;
use crate::domain::fault::Fault;
use crate::domain::topic_partition::TopicPartition;
use crate::engine::Options;
use crate::engine::progress::Progress;
use crate::kafka::mock::{MockRegion, read_all};

/// How often the show is looked at.
const TICK: Duration = Duration::from_millis(200);
/// It ends by itself after this time, whatever happens: the proof then says what is missing.
const CURTAIN: Duration = Duration::from_secs(45);
/// The timestamp of the first record: the same in every show.
const STARTED: i64 = 1_750_000_000_000;

/// The arguments of `demo`: none.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows one read fanned out to two regions, one of which goes down and comes back.
pub fn run(_: &Args) -> Outcome {
    let failed = |fault: Fault| Failure::at_run_time(format!("the demo can't go on: {fault}"));
    let regions = Regions::start().map_err(failed)?;
    let plan = regions.plan().map_err(failed)?;
    let written = Arc::new(Written::default());
    let loader = {
        let (written, bootstrap) = (written.clone(), regions.source.bootstrap());
        std::thread::spawn(move || load(&bootstrap, STARTED, &written))
    };
    let mut show = Show {
        screen: Screen::open(),
        began: Instant::now(),
        weather: Weather::Fine,
        regions: &regions,
        written: &written,
    };
    let ended = host(&plan, Options::default(), None, TICK, &mut |routes| show.go_on(routes))?;
    loader.join().map_err(|_| Failure::at_run_time("the demo's load panicked"))?.map_err(failed)?;
    if let Some(reason) = ended.undone.first() {
        return Err(Failure::at_run_time(reason.clone()));
    }
    let proofs = prove(&regions, written.records.load(Relaxed)).map_err(failed)?;
    Ok(if show.screen.prove(&proofs) { Exit::Done } else { Exit::Failed })
}

struct Show<'a> {
    screen: Screen,
    began: Instant,
    weather: Weather,
    regions: &'a Regions,
    written: &'a Written,
}

impl Show<'_> {
    /// Lets the weather change, shows the state, and says whether the show is over.
    fn go_on(&mut self, routes: &Routes) -> bool {
        let since = self.began.elapsed();
        let Some(progress) = routes.values().next() else { return true };
        let weather = Weather::at(since);
        if weather != self.weather {
            self.weather = weather;
            if let Err(fault) = self.change(weather) {
                tracing::error!("{fault}");
                return true;
            }
        }
        let written = self.written.records.load(Relaxed);
        self.screen.show(since, weather, written, progress);
        let over = self.written.done.load(Relaxed) && (0..TARGETS.len()).all(|target| has(progress, target, written));
        over || since >= CURTAIN
    }

    fn change(&self, weather: Weather) -> Result<(), Fault> {
        let breaks = self.regions.targets.last();
        match weather {
            Weather::Fine => Ok(()),
            Weather::Broken => breaks.map_or(Ok(()), MockRegion::down),
            Weather::Healed => breaks.map_or(Ok(()), MockRegion::up),
        }
    }
}

/// Whether a target's watermarks say that it has all records. Offsets start at 0 and have no holes here.
fn has(progress: &Progress, target: usize, written: u64) -> bool {
    let marks =
        (0..PARTITIONS).filter_map(|partition| progress.watermark(target, &TopicPartition::new(TOPIC, partition)));
    u64::try_from(marks.sum::<i64>()).is_ok_and(|sum| sum >= written)
}

fn prove(regions: &Regions, written: u64) -> Result<Vec<(&'static str, Proof)>, Fault> {
    let mut proofs = Vec::new();
    for (name, region) in TARGETS.iter().zip(&regions.targets) {
        let found = read_all(&region.bootstrap(), &target_topic(), PARTITIONS)?;
        proofs.push((*name, compare(written, STARTED, &found)));
    }
    Ok(proofs)
}
