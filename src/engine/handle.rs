//! How a running engine is looked at, and told what to do, from any thread: by the API, and whatever else serves people.

use std::io;
use std::sync::Arc;

use actix::Addr;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::board::{Board, Posted};
use super::events::Events;
use super::messages::Order;
use super::supervisor::{Standing, Supervisor};
use super::view::{EventKind, Level, RouteDetail, RoutesView};
use crate::domain::bandwidth::{show_limit, show_rate};
use crate::plan::changes::changes;
use crate::plan::switches::Switches;
use crate::plan::{Plan, Reload};

/// Writes down what people have switched, so that it survives a restart. Blocks.
pub type Keep = Arc<dyn Fn(&Switches) -> io::Result<()> + Send + Sync>;

/// Reads the config again; or says what is wrong with it, and where. Blocks.
pub type Load = Arc<dyn Fn() -> Result<Plan, String> + Send + Sync>;

/// A running engine.
#[derive(Clone)]
pub struct Handle {
    board: Arc<Board>,
    supervisor: Addr<Supervisor>,
    now: Arc<Mutex<Now>>,
    keep: Keep,
    load: Load,
}

/// What is so now.
struct Now {
    /// What people have switched.
    switches: Switches,
    /// What the config says, as it was read last.
    plan: Plan,
}

/// Why an order is not followed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such route.
    #[error("there is no route {name}; {hint}")]
    UnknownRoute {
        /// As it was asked for.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// The route has no such target.
    #[error("route {route} has no target {name}; {hint}")]
    UnknownTarget {
        /// The route.
        route: String,
        /// As it was asked for.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// A rate that has no effect, or none at all.
    #[error("{0}")]
    BadRate(String),
    /// The config is wrong, and changes nothing.
    #[error("{0}")]
    BadConfig(String),
    /// The process is about to end.
    #[error("the engine is draining, and takes no orders any more")]
    Draining,
    /// What was ordered could not be written down, and so was not done.
    #[error("it can't be written down, and a restart would undo it: {0}; make the folder of `admin.state` writable")]
    NotKept(#[source] io::Error),
}

impl Handle {
    pub(super) fn new(board: Arc<Board>, supervisor: Addr<Supervisor>, plan: Plan, standing: Standing) -> Self {
        let Standing { switches, keep, load } = standing;
        Self { board, supervisor, now: Arc::new(Mutex::new(Now { switches, plan })), keep, load }
    }

    /// All routes.
    pub fn routes(&self) -> RoutesView {
        RoutesView { routes: self.board.all().iter().map(Posted::view).collect() }
    }

    /// A route with its partitions.
    pub fn route(&self, name: &str) -> Result<RouteDetail, Refusal> {
        self.find(name).map(|posted| posted.detail())
    }

    /// Where everything that is known stands: for those who show it in another form.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What happened.
    pub fn events(&self) -> &Arc<Events> {
        &self.board.events
    }

    fn find(&self, name: &str) -> Result<Posted, Refusal> {
        self.board.find(name).ok_or_else(|| {
            let all: Vec<String> = self.board.all().into_iter().map(|posted| posted.configured.name.clone()).collect();
            let hint = format!("the routes are: {}", all.join(", "));
            Refusal::UnknownRoute { name: name.to_owned(), hint }
        })
    }

    fn find_target(&self, route: &str, target: &str) -> Result<(Posted, usize), Refusal> {
        let posted = self.find(route)?;
        match posted.target(target) {
            Some(index) => Ok((posted, index)),
            None => {
                let mut all: Vec<&str> = posted.configured.seated().map(|(_, target)| target.name()).collect();
                all.sort_unstable();
                let hint = format!("its targets are: {}", all.join(", "));
                Err(Refusal::UnknownTarget { route: route.to_owned(), name: target.to_owned(), hint })
            }
        }
    }

    /// Switches a route on or off. One that goes off finishes what is in flight, which this does not wait for.
    pub async fn switch(&self, route: &str, enabled: bool) -> Result<(), Refusal> {
        let posted = self.find(route)?;
        let note = |switches: &mut Switches| switches.enable(&posted.configured, enabled);
        let text = if enabled { "switched on" } else { "switched off" };
        self.order(note, Order::Switch { route: route.to_owned(), enabled }).await?;
        self.tell(route, None, text);
        Ok(())
    }

    /// Pauses a target, or resumes it. One that is paused finishes what its writer has, which this does not wait for.
    pub async fn pause(&self, route: &str, target: &str, paused: bool) -> Result<(), Refusal> {
        let (posted, index) = self.find_target(route, target)?;
        let note = |switches: &mut Switches| switches.pause(&posted.configured, index, paused);
        self.order(note, Order::Pause { route: route.to_owned(), target: index, paused }).await?;
        self.tell(route, Some(target), if paused { "paused" } else { "resumed" });
        Ok(())
    }

    /// Sets what a route may write to a target, in bytes per second; `None` is without limit but those around it.
    pub async fn throttle(&self, route: &str, target: &str, rate: Option<u64>) -> Result<(), Refusal> {
        let (posted, index) = self.find_target(route, target)?;
        let cluster = &posted.configured.targets[index].cluster;
        if let (Some(rate), Some(most)) = (rate, cluster.write_bandwidth)
            && rate > most
        {
            let (rate, most, alias) = (show_rate(rate), show_rate(most), &cluster.alias);
            let why = format!("{rate} is more than {most}, which is all that may be written to {alias}");
            return Err(Refusal::BadRate(format!("{why}: see clusters.{alias}.peak_bandwidth")));
        }
        let note = |switches: &mut Switches| switches.throttle(&posted.configured, index, rate);
        self.order(note, Order::Throttle { route: route.to_owned(), target: index, rate }).await?;
        self.tell(route, Some(target), &format!("its bandwidth was set to {}", show_limit(rate)));
        Ok(())
    }

    /// Reads the config again, and has what differs followed, which this does not wait for: says what that is, key by key. A config
    /// that is wrong changes nothing.
    pub async fn reload(&self) -> Result<Vec<String>, Refusal> {
        // orders wait: they are for what is so now
        let mut now = self.now.lock().await;
        let load = self.load.clone();
        let plan = spawn_blocking(move || load()).await.unwrap_or_else(|error| Err(error.to_string()));
        let plan = plan.map_err(|why| self.refuse_config(why))?;
        let changes = changes(&now.plan, &plan);
        let order = Order::Follow(Box::new(plan.clone()), now.switches.clone());
        self.supervisor.send(order).await.unwrap_or(Err(Refusal::Draining))?;
        now.plan = plan;
        self.tell_changes(&changes);
        Ok(changes)
    }

    /// Whether the config is to be read again when its file is another one.
    pub async fn watches(&self) -> bool {
        self.now.lock().await.plan.reload == Reload::Watch
    }

    fn refuse_config(&self, why: String) -> Refusal {
        tracing::error!("the config was read again, and changes nothing: {why}");
        let text = format!("the config is wrong, and changes nothing: {why}");
        self.events().tell(EventKind::Reload, Level::Error, (None, None), text);
        Refusal::BadConfig(why)
    }

    fn tell_changes(&self, changes: &[String]) {
        let text = if changes.is_empty() { "nothing has changed".to_owned() } else { changes.join("; ") };
        tracing::info!("the config was read again: {text}");
        self.events().tell(EventKind::Reload, Level::Info, (None, None), format!("the config was read again: {text}"));
    }

    /// Writes an order down, and has it followed. One at a time, so that what is written is what is so.
    async fn order(&self, note: impl FnOnce(&mut Switches), order: Order) -> Result<(), Refusal> {
        let mut now = self.now.lock().await;
        let mut noted = now.switches.clone();
        note(&mut noted);
        if noted != now.switches {
            let (keep, written) = (self.keep.clone(), noted.clone());
            let kept = spawn_blocking(move || keep(&written)).await;
            kept.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(Refusal::NotKept)?;
            now.switches = noted;
        }
        self.supervisor.send(order).await.unwrap_or(Err(Refusal::Draining))
    }

    fn tell(&self, route: &str, target: Option<&str>, text: &str) {
        tracing::info!(route, target, "{text} by hand");
        self.events().tell(EventKind::Order, Level::Info, (Some(route), target), format!("{text} by hand"));
    }
}
