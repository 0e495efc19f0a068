//! What `run`, `copy` and `demo` share: the engine in its actix system, signals, and the last word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::Failure;
use super::reloading::Reloading;
use super::watchdog::Watchdog;
use crate::admin::{self, Api};
use crate::engine::handle::Handle;
use crate::engine::progress::Progress;
use crate::engine::{Ended, Engine, Options, Standing};
use crate::plan::Plan;
use crate::telemetry::Telemetry;

/// The progress of each route by name.
pub type Routes = BTreeMap<String, Arc<Progress>>;

/// Looks at the running engine now and then; `true` ends it.
pub type Watcher<'a> = &'a mut dyn FnMut(&Routes) -> bool;

/// Runs the engine until it ends by itself, the watcher ends it, or SIGTERM or SIGINT does.
///
/// A second signal ends the process at once: somebody is in a hurry, and what was in flight is copied again.
pub fn host(
    plan: &Plan,
    options: Options,
    standing: Option<(Standing, Reloading)>,
    every: Duration,
    watcher: Watcher<'_>,
) -> Result<Ended, Failure> {
    let mut telemetry = Telemetry::start(&plan.telemetry).map_err(|error| Failure::usage(error.to_string()))?;
    let system = System::new();
    let ended = system.block_on(drive(plan, options, standing, every, watcher, &mut telemetry));
    // a thread may still wait for a broker that does not answer: nobody has to wait for it
    std::mem::forget(system);
    let ended = ended?;
    tracing::info!(
        in_flight_peak_bytes = ended.in_flight_peak,
        in_flight_budget_bytes = ended.in_flight_budget,
        peak_memory_bytes = peak_memory(),
        "engine stopped"
    );
    telemetry.finish();
    Ok(ended)
}

async fn drive(
    plan: &Plan,
    options: Options,
    standing: Option<(Standing, Reloading)>,
    every: Duration,
    watcher: Watcher<'_>,
    telemetry: &mut Telemetry,
) -> Result<Ended, Failure> {
    let unable = |error| Failure::at_run_time(format!("signals can't be handled: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(unable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unable)?;
    let watchdog = Watchdog::start(plan.limits.stall).map_err(unable)?;
    let mut meals = interval(Watchdog::appetite(plan.limits.stall));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (standing, reloading) = standing.unzip();
    let mut engine = Engine::start(plan, options, standing);
    if let Some((reloading, handle)) = reloading.zip(engine.handle.clone()) {
        // where nobody could reach it, SIGHUP ends the process, as usual
        actix::spawn(reloading.serve(handle, signal(SignalKind::hangup()).map_err(unable)?));
    }
    let _api = engine.handle.clone().map(|handle| serve(plan, handle, telemetry)).transpose()?;
    let routes = engine.routes.clone();
    let mut draining = false;
    loop {
        let signalled = tokio::select! {
            ended = engine.ended() => return Ok(ended),
            _ = meals.tick() => {
                watchdog.feed();
                continue;
            }
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            _ = ticks.tick() => {
                if watcher(&routes) && !draining {
                    draining = true;
                    engine.drain();
                }
                continue;
            }
        };
        if signalled && draining {
            tracing::warn!("a second signal: ending at once");
            telemetry.hurry();
            return Ok(Ended {
                undone: vec!["it was ended at once, by a second signal".to_owned()],
                ..Ended::default()
            });
        }
        tracing::info!("draining: finishing what is in flight");
        draining = true;
        engine.drain();
    }
}

/// Lets people reach the engine, if they are to.
fn serve(plan: &Plan, handle: Handle, telemetry: &mut Telemetry) -> Result<Option<Api>, Failure> {
    let metrics = telemetry.show(handle.board()).map_err(|error| Failure::at_run_time(error.to_string()))?;
    let api = admin::start(&plan.admin, handle, metrics);
    let api = api.map_err(|error| {
        let listen = plan.admin.listen.map_or_else(String::new, |listen| listen.to_string());
        let hint = "set `admin.listen` to another address, or to off";
        Failure::at_run_time(format!("nobody could reach it at {listen}: {error}; {hint}"))
    })?;
    if let Some(api) = &api {
        tracing::info!(address = %api.address, "the API listens");
    }
    Ok(api)
}

/// The most memory that this process ever occupied, in bytes; 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
