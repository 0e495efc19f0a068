//! Writes the dead letters of one target: to a topic of its own, on the target or on another cluster.
//!
//! It has a client of its own, so that dead letters wait for nobody's traffic. A letter is acknowledged before its record
//! counts as done; after a crash it may be written twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use tokio::task::spawn_blocking;

use super::clock::now;
use super::death_watch::DeathWatch;
use super::failpoint::failpoint;
use super::lasting::Lasting;
use super::messages::{DeadLetter, DeadLettered, Ping, WriteNews};
use super::progress::TargetIndex;
use super::refusals::millis;
use super::retries::What;
use crate::domain::batch::OffsetRange;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::limits::TopicLimits;
use crate::domain::routing::Partitioning;
use crate::domain::state::Trouble;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, NewTopicSpec};
use crate::kafka::writer::KafkaWriter;
use crate::kafka::{Part, TargetTopic, Write, WriteEvent, Writer};
use crate::plan::{DeadLetterPlan, RoutePlan};

/// A record that was too large for its target has to fit here.
const LARGEST: u64 = 16 << 20;

/// What it is made of.
pub struct Params {
    /// Which target.
    pub target: TargetIndex,
    /// The route.
    pub route: Arc<RoutePlan>,
    /// Who gets the answers.
    pub producer: Recipient<DeadLettered>,
    /// What the route's lives share.
    pub lasting: Lasting,
    /// Speaks when the actor ends.
    pub watch: DeathWatch,
}

/// The actor.
pub struct DeadLetterProducer {
    params: Params,
    clients: Option<Clients>,
    topics: HashMap<Arc<str>, Arc<TargetTopic>>,
    waiting: VecDeque<DeadLetter>,
    under_way: HashMap<u64, (u64, TopicPartition, Arc<str>)>,
    tickets: u64,
    /// Whether a topic is being made ready, or waits for the next attempt at that.
    busy: bool,
}

#[derive(Clone)]
struct Clients {
    admin: Arc<Admin>,
    writer: Arc<dyn Writer>,
}

impl DeadLetterProducer {
    /// A producer that connects when it gets its first letter.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            clients: None,
            topics: HashMap::new(),
            waiting: VecDeque::new(),
            under_way: HashMap::new(),
            tickets: 0,
            busy: false,
        }
    }

    fn plan(&self) -> &DeadLetterPlan {
        &self.params.route.targets[self.params.target].dead_letter
    }

    /// Writes what waits, as far as its topics are ready.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        while let Some(letter) = self.waiting.pop_front() {
            let name = match self.plan().topic.apply(&letter.meant_for.name) {
                Ok(name) => Arc::<str>::from(name),
                Err(error) => {
                    let fault = Fault::new(FaultClass::Config, error.to_string());
                    self.answer(letter.letter, letter.batch.partition.clone(), Err(fault));
                    continue;
                }
            };
            match (self.clients.clone(), self.topics.get(&name).cloned()) {
                (Some(clients), Some(topic)) => self.write(letter, &clients, topic),
                _ => {
                    let partitions = letter.meant_for.partitions;
                    self.waiting.push_front(letter);
                    return self.make_ready(name, partitions, ctx);
                }
            }
        }
    }

    fn write(&mut self, letter: DeadLetter, clients: &Clients, topic: Arc<TargetTopic>) {
        let DeadLetter { letter, mut batch, .. } = letter;
        let source = batch.partition.clone();
        batch.partition.partition = source.partition % topic.partitions.max(1);
        let part = Part::In(OffsetRange { start: batch.range.start, end: batch.range.end });
        self.tickets += 1;
        self.under_way.insert(self.tickets, (letter, source, topic.name.clone()));
        clients.writer.write(Write { ticket: self.tickets, batch: Arc::new(batch), part, topic, heard: 0 });
    }

    fn answer(&self, letter: u64, partition: TopicPartition, outcome: Result<Arc<str>, Fault>) {
        self.params.producer.do_send(DeadLettered { letter, partition, outcome });
    }

    /// Finds or creates a topic, on a thread that may block.
    fn make_ready(&mut self, name: Arc<str>, partitions: i32, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.busy, true) {
            return;
        }
        let (plan, clients, me) = (self.plan().clone(), self.clients.clone(), ctx.address());
        let create = self.params.route.create_topics;
        let work = spawn_blocking(move || {
            let clients = match clients {
                Some(clients) => clients,
                None => Clients {
                    admin: Arc::new(Admin::open(&plan.cluster)?),
                    writer: Arc::new(KafkaWriter::open(
                        &plan.cluster,
                        Arc::new(move |event| me.do_send(WriteNews(event))),
                    )?),
                },
            };
            let found = ready_topic(&clients.admin, &plan, &name, partitions, create);
            Ok((clients, found))
        });
        ctx.spawn(work.into_actor(self).map(move |result, this, ctx| {
            let result = result.unwrap_or_else(|error| Err(Fault::new(FaultClass::Crash, error.to_string())));
            let outcome = result.and_then(|(clients, found)| {
                if this.clients.is_none() {
                    this.params.lasting.opened(&clients.writer);
                }
                this.clients = Some(clients);
                found
            });
            let what = What::DeadLetter(this.params.target);
            match outcome {
                Ok(topic) => {
                    this.busy = false;
                    this.params.lasting.retries.works(&what);
                    this.topics.insert(topic.name.clone(), Arc::new(topic));
                    this.go_on(ctx);
                }
                Err(fault) => this.try_later(&fault, ctx),
            }
        }));
    }

    /// The client is in trouble, and goes on trying: what is under way waits for that.
    fn troubled(&self, fault: &Fault) {
        let partitions: Vec<TopicPartition> = self.under_way.values().map(|(_, source, _)| source.clone()).collect();
        let reason = format!("dead letters wait: {fault}");
        let trouble = Trouble { class: fault.class, attempt: 1, next_attempt_at: None, reason };
        self.params.lasting.status.change_target(self.params.target, |facts| {
            facts.held.extend(partitions.into_iter().map(|partition| (partition, trouble.clone())));
        });
    }

    fn try_later(&mut self, fault: &Fault, ctx: &mut Context<Self>) {
        let (attempt, delay) =
            self.params.lasting.retries.failed_again(&What::DeadLetter(self.params.target), fault.class);
        let reason = format!("dead letters can't be written: {fault}");
        tracing::warn!(route = %self.params.route.name, class = fault.class.name(), attempt, retry_ms = millis(delay), "{reason}");
        let partition = self.waiting.front().map(|letter| letter.batch.partition.clone());
        if let Some(partition) = partition {
            let trouble = Trouble { class: fault.class, attempt, next_attempt_at: Some(now() + delay), reason };
            self.params.lasting.status.change_target(self.params.target, |facts| {
                facts.held.insert(partition, trouble);
            });
        }
        // one topic's trouble is its own
        if self.waiting.len() > 1 {
            self.waiting.rotate_left(1);
        }
        ctx.run_later(delay.max(Duration::from_millis(1)), |this, ctx| {
            this.busy = false;
            this.go_on(ctx);
        });
    }
}

/// Finds a topic for dead letters, or creates it.
fn ready_topic(
    admin: &Admin,
    plan: &DeadLetterPlan,
    name: &Arc<str>,
    partitions: i32,
    create: bool,
) -> Result<TargetTopic, Fault> {
    let topic = |partitions| TargetTopic {
        name: name.clone(),
        partitions,
        partitioning: Partitioning::Keep,
        limits: TopicLimits::default(),
    };
    match admin.topics()?.remove(&**name) {
        Some(found) => found.fault.map_or(Ok(topic(found.partitions)), Err),
        None if !create => Err(Fault::new(
            FaultClass::Config,
            format!(
                "topic {name} does not exist on cluster {}, and create_topics is off: create it, or switch that on",
                plan.cluster.alias
            ),
        )),
        None => {
            let settings = [("max.message.bytes".to_owned(), LARGEST.to_string())].into();
            let spec = NewTopicSpec { name: name.to_string(), partitions, settings };
            tracing::info!(cluster = %plan.cluster.alias, topic = %name, partitions, "creating a topic for dead letters");
            admin.create_topic(&spec).or_else(|_| {
                // not everybody may set that: without it the cluster's own limit counts
                admin.create_topic(&NewTopicSpec { settings: std::collections::BTreeMap::new(), ..spec })
            })?;
            Ok(topic(partitions))
        }
    }
}

impl Drop for DeadLetterProducer {
    /// What is not written yet is written again: the writer ends by itself, and nobody waits for it.
    fn drop(&mut self) {
        if let Some(clients) = &self.clients {
            self.params.lasting.forget(&clients.writer);
        }
    }
}

impl Actor for DeadLetterProducer {
    type Context = Context<Self>;
}

impl Handler<Ping> for DeadLetterProducer {
    type Result = ();

    fn handle(&mut self, Ping(pulse): Ping, _: &mut Self::Context) {
        pulse.beat();
    }
}

impl Handler<DeadLetter> for DeadLetterProducer {
    type Result = ();

    fn handle(&mut self, letter: DeadLetter, ctx: &mut Self::Context) {
        failpoint!("dead-letters", ctx);
        self.waiting.push_back(letter);
        if !self.busy {
            self.go_on(ctx);
        }
    }
}

impl Handler<WriteNews> for DeadLetterProducer {
    type Result = ();

    fn handle(&mut self, WriteNews(event): WriteNews, ctx: &mut Self::Context) {
        match event {
            WriteEvent::Written { ticket, refused } => {
                let Some((letter, partition, topic)) = self.under_way.remove(&ticket) else { return };
                if refused.first().is_some_and(|refusal| refusal.fault.class != FaultClass::Record) {
                    self.topics.remove(&topic); // it may be gone
                }
                let outcome = refused.first().map_or(Ok(topic), |refusal| Err(refusal.fault.clone()));
                self.answer(letter, partition, outcome);
            }
            WriteEvent::Trouble(fault) => self.troubled(&fault),
            WriteEvent::Throttled(_) => {}
            WriteEvent::Fatal(fault) => {
                // the target is made anew with all that it has: what was not acknowledged is written again
                tracing::error!(route = %self.params.route.name, "dead letters: {fault}");
                actix::ActorContext::stop(ctx);
            }
        }
    }
}
