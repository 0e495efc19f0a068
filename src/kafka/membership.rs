//! A route's place among the processes that share it: Kafka's own group protocol on the source cluster says which partitions
//! are whose. The group is `anabranch.<route>`. Its members read nothing and commit nothing through it: they are only given
//! partitions, and take the time that they need to give them back.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::admin::Admin;
use super::client::{Context, control_config};
use super::fault_map::class_of;
use super::ffi::{Member, POLL, Told};
use super::lease::SharedLease;
use super::thread;
use super::wake::Inbox;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::ClusterSpec;

/// How long a coordinator waits for a sign of life where the client says so: Kafka's own default.
const SESSION: Duration = Duration::from_secs(45);
/// What is left beyond the time in which partitions have to be given back, before they are taken as lost.
const GRACE: Duration = Duration::from_secs(10);
/// How long a member that can't be one waits before it tries again.
const AGAIN: Duration = Duration::from_secs(15);
/// How long it takes to leave, at the most.
const LEAVING: Duration = Duration::from_secs(3);
/// How long a member that lost its place waits, beyond a session, until it is given something again. Where the coordinator went
/// away at the wrong moment, a client may not find back into the group by itself: then another one asks.
const REGAIN: Duration = Duration::from_secs(20);

/// What a member is told.
#[derive(Debug)]
pub enum MemberEvent {
    /// Who attends now is the first to hear of it: these partitions are its own, and no others.
    Holds(Vec<(TopicPartition, u64)>),
    /// These partitions are its own now, too; each with the number of this assignment.
    Given(Vec<(TopicPartition, u64)>),
    /// These it has to finish and then to [`give_back`](Membership::give_back).
    Taken(Vec<TopicPartition>),
    /// Everything that it had may be somebody else's already, and why: nothing more may be done in its name.
    Lost(String),
    /// It can't be a member, and tries again by itself.
    Trouble(Fault),
}

/// Where a member's events go. They may come on any thread.
pub type MemberSink = Arc<dyn Fn(MemberEvent) + Send + Sync>;

/// A place in a group. Dropping it leaves.
#[derive(Debug)]
pub struct Membership {
    inbox: Arc<Inbox<Item>>,
    lease: SharedLease,
    crashed: Arc<AtomicBool>,
}

enum Item {
    Attend(MemberSink),
    Topics(Vec<String>),
    GiveBack(Vec<TopicPartition>),
    Events,
    Leave(Option<mpsc::Sender<()>>),
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("member item")
    }
}

impl Membership {
    /// A member of `group` on `cluster`, which joins once it is told its topics. `patience` is how long partitions may take to be
    /// given back.
    pub fn open(cluster: &Arc<ClusterSpec>, group: &str, patience: Duration) -> Result<Self, Fault> {
        let inbox: Arc<Inbox<Item>> = Arc::default();
        let lease = SharedLease::default();
        let worker = Worker {
            terms: Terms { cluster: cluster.clone(), group: group.to_owned(), patience },
            inbox: inbox.clone(),
            lease: lease.clone(),
            sink: Arc::default(),
            topics: Vec::new(),
            joined: None,
            rest_until: None,
            classic: false,
            assignments: 0,
        };
        let (told, crashed) = (worker.sink.clone(), Arc::new(AtomicBool::new(false)));
        let (flag, lost) = (crashed.clone(), lease.clone());
        let tell = move |fault: Fault| {
            flag.store(true, Relaxed);
            lost.lose();
            tell(&told, MemberEvent::Lost(fault.reason));
        };
        thread::spawn("share", &cluster.alias, move || worker.run(), tell)?;
        Ok(Self { inbox, lease, crashed })
    }

    /// Sends events there from now on. What it has is given anew, so that nothing is missed; and what it has to give back is not
    /// among that.
    pub fn attend(&self, sink: MemberSink) {
        self.inbox.push(Item::Attend(sink));
    }

    /// The topics that the group shares out. The same ones again change nothing.
    pub fn set_topics(&self, topics: Vec<String>) {
        self.inbox.push(Item::Topics(topics));
    }

    /// Partitions that were taken are finished with.
    pub fn give_back(&self, partitions: Vec<TopicPartition>) {
        self.inbox.push(Item::GiveBack(partitions));
    }

    /// How long the present partitions may be acted for.
    pub fn lease(&self) -> SharedLease {
        self.lease.clone()
    }

    /// Whether its thread has panicked: another one has to be opened.
    pub fn has_crashed(&self) -> bool {
        self.crashed.load(Relaxed)
    }

    /// Leaves the group, so that others need not wait for the end of the session. Blocks for some seconds at the most.
    pub fn leave(&self) {
        let (done, left) = mpsc::channel();
        self.inbox.push(Item::Leave(Some(done)));
        // whoever does not get to leave in time is put out by the coordinator
        left.recv_timeout(LEAVING).unwrap_or_default();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.inbox.push(Item::Leave(None));
    }
}

fn tell(sink: &Mutex<Option<MemberSink>>, event: MemberEvent) -> bool {
    let sink = sink.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let attended = sink.is_some();
    if let Some(sink) = sink {
        sink(event);
    }
    attended
}

/// What a member needs to know to be one.
struct Terms {
    cluster: Arc<ClusterSpec>,
    group: String,
    patience: Duration,
}

impl Terms {
    /// How the group is joined, and how long its coordinator waits for a sign of life: by the newer protocol, where the coordinator
    /// has it and that was not refused before (`classic`). There the time is the broker's to set, and the client has to ask for it.
    fn protocol(&self, classic: bool) -> Result<(ClientConfig, Duration), Fault> {
        let mut config = control_config(&self.cluster);
        let asked =
            |key: &str| self.cluster.client.get(key).and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let patience = u64::try_from((self.patience + GRACE).as_millis()).unwrap_or(u64::MAX);
        config.set("group.id", &self.group);
        config.set("max.poll.interval.ms", patience.saturating_mul(2).clamp(300_000, 86_400_000).to_string());
        config.set("topic.metadata.refresh.interval.ms", "5000"); // the classic protocol counts partitions by itself
        // whoever sets a time of their own wants the protocol that lets them
        let own = asked("session.timeout.ms");
        if !classic
            && own.is_none()
            && let Some(session) = Admin::open(&self.cluster)?.session_of_group(&self.group)?
        {
            config.set("group.protocol", "consumer");
            return Ok((config, session));
        }
        config.set("group.protocol", "classic").set("partition.assignment.strategy", "cooperative-sticky");
        let session = own.unwrap_or(SESSION);
        config.set("session.timeout.ms", session.as_millis().to_string());
        if asked("heartbeat.interval.ms").is_none() {
            config.set("heartbeat.interval.ms", (session / 10).min(Duration::from_secs(3)).as_millis().to_string());
        }
        Ok((config, session))
    }
}

struct Worker {
    terms: Terms,
    inbox: Arc<Inbox<Item>>,
    lease: SharedLease,
    sink: Arc<Mutex<Option<MemberSink>>>,
    topics: Vec<String>,
    joined: Option<Joined>,
    /// No attempt is made to join before.
    rest_until: Option<Instant>,
    /// Whether the newer protocol was refused.
    classic: bool,
    assignments: u64,
}

/// A client that is in the group, or on its way into it.
struct Joined {
    member: Member,
    classic: bool,
    held: HashMap<TopicPartition, u64>,
    taken: Option<Taken>,
    session: Duration,
    /// It lost its place, has left, and joins again once it holds nothing any more.
    anew: bool,
    /// It lost its place, and is replaced by another client if it is given nothing until then.
    regains_until: Option<Instant>,
}

/// Partitions that have to be given back together.
struct Taken {
    all: Vec<TopicPartition>,
    left: HashSet<TopicPartition>,
    until: Instant,
}

impl Worker {
    fn run(mut self) {
        let mut items = Vec::new();
        loop {
            self.inbox.take(&mut items, POLL);
            for item in items.drain(..) {
                match item {
                    Item::Attend(sink) => self.attend(sink),
                    Item::Topics(topics) => self.set_topics(topics),
                    Item::GiveBack(partitions) => self.given_back(&partitions),
                    Item::Events => {}
                    Item::Leave(done) => {
                        self.leave();
                        if let Some(done) = done {
                            done.send(()).unwrap_or_default(); // nobody waits for it any more
                        }
                        return;
                    }
                }
            }
            self.join_if_due();
            while let Some(told) = self.joined.as_ref().and_then(|joined| joined.member.poll()) {
                self.told(told);
            }
            self.look();
        }
    }

    fn attend(&mut self, sink: MemberSink) {
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
        // whoever attended before is gone, and gives nothing back any more
        self.give_back();
        let held = self.joined.iter().flat_map(|joined| &joined.held);
        let held = held.map(|(partition, number)| (partition.clone(), *number)).collect();
        tell(&self.sink, MemberEvent::Holds(held));
    }

    fn set_topics(&mut self, topics: Vec<String>) {
        if topics == self.topics {
            return;
        }
        self.topics = topics;
        if let Some(joined) = self.joined.as_ref().filter(|joined| !joined.anew) {
            joined.subscribe(&self.topics);
        }
    }

    fn join_if_due(&mut self) {
        let now = Instant::now();
        if self.joined.is_some() || self.topics.is_empty() || self.rest_until.is_some_and(|at| now < at) {
            return;
        }
        match self.join() {
            Ok(joined) => {
                (self.joined, self.rest_until) = (Some(joined), None);
            }
            Err(fault) => {
                // most often the cluster does not answer; and it is asked for its topics all the time
                let rest = if fault.class == FaultClass::Config { AGAIN } else { AGAIN / 10 };
                self.rest_until = Some(now + rest);
                tell(&self.sink, MemberEvent::Trouble(fault));
            }
        }
    }

    fn join(&self) -> Result<Joined, Fault> {
        let (config, session) = self.terms.protocol(self.classic)?;
        let (cluster, inbox) = (&self.terms.cluster, self.inbox.clone());
        let context = Context::in_group(cluster, self.lease.for_client(session));
        let member = Member::new(&config, context, Box::new(move || inbox.push(Item::Events)))
            .map_err(|error| Context::new(cluster, None).fault("the client for the group can't be made", &error))?;
        let classic = config.get("group.protocol") == Some("classic");
        tracing::info!(group = %self.terms.group, cluster = %cluster.alias, session_s = session.as_secs_f64(),
            protocol = config.get("group.protocol"), "joining");
        let joined =
            Joined { member, classic, held: HashMap::new(), taken: None, session, anew: false, regains_until: None };
        joined.subscribe(&self.topics);
        Ok(joined)
    }

    fn told(&mut self, told: Told) {
        let Some(joined) = &mut self.joined else { return };
        match told {
            Told::Given(partitions) => {
                // as a client that has got stuck
                #[cfg(feature = "failpoints")]
                fail::fail_point!("regain", joined.regains_until.is_some(), |_| ());
                let given = joined.take(&partitions, &mut self.assignments, &self.lease);
                if !given.is_empty() {
                    joined.regains_until = None;
                    tell(&self.sink, MemberEvent::Given(given));
                }
            }
            Told::Taken { partitions, lost } if lost || joined.anew => {
                joined.give_back(&partitions);
                if !joined.anew {
                    self.lose("another member may have its partitions: the group has put it out");
                }
            }
            Told::Taken { partitions, .. } => {
                joined.held.retain(|partition, _| !partitions.contains(partition));
                let left = partitions.iter().cloned().collect();
                let until = Instant::now() + self.terms.patience + GRACE;
                joined.taken = Some(Taken { all: partitions.clone(), left, until });
                if !tell(&self.sink, MemberEvent::Taken(partitions)) {
                    self.give_back();
                }
            }
            Told::Trouble(code) => self.troubled(code),
        }
    }

    /// Nobody acts for what was taken any more.
    fn give_back(&mut self) {
        let Some(joined) = &mut self.joined else { return };
        if let Some(taken) = joined.taken.take() {
            joined.give_back(&taken.all);
        }
        if joined.held.is_empty() {
            self.lease.end();
        }
    }

    fn given_back(&mut self, partitions: &[TopicPartition]) {
        let Some(taken) = self.joined.as_mut().and_then(|joined| joined.taken.as_mut()) else { return };
        taken.left.retain(|partition| !partitions.contains(partition));
        if taken.left.is_empty() {
            self.give_back();
        }
    }

    /// Its place is lost: whoever acts for it has to end, and it joins anew.
    fn lose(&mut self, why: &str) {
        let Some(joined) = &mut self.joined else { return };
        self.lease.lose();
        let had = !joined.held.is_empty() || joined.taken.is_some();
        joined.held.clear();
        if let Some(taken) = joined.taken.take() {
            joined.give_back(&taken.all);
        }
        joined.anew = true;
        joined.member.leave();
        if had {
            joined.regains_until = Some(Instant::now() + joined.session + REGAIN);
            tell(&self.sink, MemberEvent::Lost(why.to_owned()));
        }
    }

    fn troubled(&mut self, code: RDKafkaErrorCode) {
        let Some(joined) = &self.joined else { return };
        if let Some((code, text)) = joined.member.fatal() {
            let refused = !joined.classic;
            self.lose("the group does not take it any more");
            self.retire();
            // a coordinator that has the newer protocol switched off says so in this way
            self.classic |= refused;
            let reason = format!("cluster {}: group {}: {text}", self.terms.cluster.alias, self.terms.group);
            if !refused {
                self.rest_until = Some(Instant::now() + AGAIN);
                tell(&self.sink, MemberEvent::Trouble(Fault::new(class_of(code), reason)));
            }
            return;
        }
        if class_of(code) == FaultClass::Config {
            let reason = format!("cluster {}: group {}: {code}", self.terms.cluster.alias, self.terms.group);
            tell(&self.sink, MemberEvent::Trouble(Fault::new(FaultClass::Config, reason)));
        }
    }

    /// What nobody says: that the lease has run out, that partitions were not given back in time, that it may join again.
    fn look(&mut self) {
        let Some(joined) = &mut self.joined else { return };
        if joined.regains_until.is_some_and(|at| Instant::now() >= at) {
            self.replace();
        } else if joined.anew {
            if joined.member.holds_nothing() {
                joined.anew = false;
                self.lease.end();
                joined.subscribe(&self.topics);
            }
        } else if self.lease.has_lapsed() {
            self.lose("the group's coordinator was not heard of for the time of the session");
        } else if joined.taken.as_ref().is_some_and(|taken| Instant::now() >= taken.until) {
            self.lose("its partitions were not given back in time");
        }
    }

    /// Has another client ask. Once: that it is given nothing may also be because all is given to others.
    fn replace(&mut self) {
        tracing::warn!(group = %self.terms.group, cluster = %self.terms.cluster.alias,
            "not given anything since its place was lost: joining by another client");
        self.retire();
    }

    /// Lets go of the client, which holds nothing any more.
    fn retire(&mut self) {
        let Some(joined) = self.joined.take() else { return };
        self.lease.end();
        // to close it may take as long as its coordinator is away, and what others want meanwhile must be heard
        let closing = thread::spawn("leave", &self.terms.cluster.alias, move || drop(joined), |_| {});
        if let Err(fault) = closing {
            tracing::warn!("{fault}");
        }
    }

    /// Leaves for good.
    fn leave(&mut self) {
        let Some(joined) = self.joined.take() else { return };
        self.lease.end();
        joined.member.close();
        let until = Instant::now() + LEAVING;
        let mut items = Vec::new();
        while !joined.member.is_closed() && Instant::now() < until {
            while let Some(told) = joined.member.poll() {
                if let Told::Taken { partitions, .. } = told {
                    joined.give_back(&partitions);
                }
            }
            // woken by the client; what others want now is of no interest any more
            self.inbox.take(&mut items, POLL / 10);
        }
    }
}

impl Joined {
    fn subscribe(&self, topics: &[String]) {
        if let Err(error) = self.member.subscribe(topics) {
            self.note("it can't join", &error);
        }
    }

    /// Takes partitions; says which, and in which assignment.
    fn take(
        &mut self,
        partitions: &[TopicPartition],
        assignments: &mut u64,
        lease: &SharedLease,
    ) -> Vec<(TopicPartition, u64)> {
        if let Err(error) = self.member.take(partitions) {
            self.note("partitions can't be taken", &error);
        }
        if self.anew {
            return Vec::new(); // of the place that it lost: it is asked for them next
        }
        lease.begin();
        *assignments += 1;
        let given: Vec<_> = partitions.iter().map(|partition| (partition.clone(), *assignments)).collect();
        self.held.extend(given.iter().cloned());
        given
    }

    fn give_back(&self, partitions: &[TopicPartition]) {
        if let Err(error) = self.member.give_back(partitions) {
            self.note("partitions can't be given back", &error);
        }
    }

    /// The protocol goes on by itself, or puts the member out: then it is told so.
    fn note(&self, what: &str, error: &rdkafka::error::KafkaError) {
        tracing::warn!("{}", self.member.context().fault(what, error));
    }
}
