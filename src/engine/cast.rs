//! A target's actors: its producer, the reads of its own, its dead letters. They are started together, and end together.

use std::sync::Arc;

use actix::{Addr, AsyncContext, Context};

use super::catch_up::{CatchUp, Params as CatchUpParams};
use super::dead_letter_producer::{DeadLetterProducer, Params as LetterParams};
use super::flow::{Gate, Lane, Urgency};
use super::letters::Story;
use super::life::Life;
use super::messages::{Child, TargetReady, WriteNews};
use super::pacer::Pacer;
use super::route::{Index, Route};
use super::router::Router;
use super::source::open_reader;
use super::target_producer::{Equipment, Owner, Params as ProducerParams, TargetProducer};
use crate::domain::fault::Fault;
use crate::kafka::Writer;
use crate::kafka::writer::KafkaWriter;
use crate::wire::writer::WireWriter;

/// A running target's actors, and its writer.
pub(super) struct Cast {
    pub(super) producer: Life<TargetProducer>,
    pub(super) catch_up: Life<CatchUp>,
    pub(super) letters: Life<DeadLetterProducer>,
    pub(super) writer: Arc<dyn Writer>,
    /// What it may have in flight for itself.
    pub(super) share: Arc<Gate>,
}

impl Cast {
    /// Gives the producer all that it needs.
    pub(super) fn equip(&self) {
        self.producer.addr().do_send(Equipment {
            writer: self.writer.clone(),
            catch_up: self.catch_up.addr().clone(),
            letters: self.letters.addr().clone(),
        });
    }
}

impl Route {
    pub(super) fn open_writer(&self, index: Index, producer: &Addr<TargetProducer>) -> Result<Arc<dyn Writer>, Fault> {
        let news = producer.clone();
        // on the writer's thread; bounded by what was handed to it
        let sink = Arc::new(move |event| news.do_send(WriteNews(event)));
        let (plan, target) = (&self.params.plan, &self.params.plan.targets[index]);
        let writer: Arc<dyn Writer> = if plan.passes_on(target) {
            Arc::new(WireWriter::open(&target.cluster, sink, self.params.lasting.progress.fallbacks.clone())?)
        } else {
            Arc::new(KafkaWriter::open(&target.cluster, sink)?)
        };
        self.params.lasting.opened(&writer);
        Ok(writer)
    }

    /// From the sink to the source: the writer, the producer, its catch-up; then the router may use it.
    pub(super) fn start_target(&mut self, index: Index, ctx: &Context<Self>) -> Result<(), Fault> {
        let router = self.router(ctx);
        let generation = self.params.lasting.retries.begin_life(&Child::Target(index));
        self.targets[index].generation = generation;
        let share = Gate::new(self.params.plan.shares().1);
        let gates = [self.params.process.clone(), self.params.lasting.gate.clone(), share.clone()];
        let own = Lane::new(&self.params.flow, gates, Urgency::CatchUp);
        let producer = self.spawn_producer(index, generation, (own.clone(), share.clone()), &router, ctx);
        let writer = self.open_writer(index, producer.addr())?;
        let catch_up = self.spawn_catch_up(index, generation, own, producer.addr().clone(), &router, ctx);
        let letters = self.spawn_letters(index, generation, producer.addr(), ctx);
        let cast = Cast { producer, catch_up, letters, writer, share };
        router.do_send(TargetReady { target: index, producer: Some(cast.producer.addr().clone()) });
        cast.equip();
        self.targets[index].cast = Some(cast);
        Ok(())
    }

    fn spawn_producer(
        &self,
        index: Index,
        generation: u64,
        (own, share): (Lane, Arc<Gate>),
        router: &Addr<Router>,
        ctx: &Context<Self>,
    ) -> Life<TargetProducer> {
        let (me, plan, lasting) = (ctx.address(), &self.params.plan, &self.params.lasting);
        let target = plan.targets[index].clone();
        Life::begin(TargetProducer::new(ProducerParams {
            target: index,
            story: Story {
                route: plan.name.clone(),
                source: plan.source.alias.clone(),
                target: target.name().to_owned(),
            },
            plan: target,
            generation,
            share,
            own,
            pacer: Pacer::new(lasting.limits_of(index)),
            router: router.clone(),
            progress: lasting.progress.clone(),
            retries: lasting.retries.clone(),
            lease: lasting.lease(),
            status: lasting.status.clone(),
            watch: Self::watch(&me, Child::Target(index), "target", generation),
            owner: Owner {
                drained: me.clone().recipient(),
                released: me.clone().recipient(),
                renew: me.clone().recipient(),
                gone: me.recipient(),
            },
        }))
    }

    fn spawn_letters(
        &self,
        index: Index,
        generation: u64,
        producer: &Addr<TargetProducer>,
        ctx: &Context<Self>,
    ) -> Life<DeadLetterProducer> {
        Life::begin(DeadLetterProducer::new(LetterParams {
            target: index,
            route: self.params.plan.clone(),
            producer: producer.clone().recipient(),
            lasting: self.params.lasting.clone(),
            watch: Self::watch(&ctx.address(), Child::Target(index), "dead-letters", generation),
        }))
    }

    fn spawn_catch_up(
        &self,
        index: Index,
        generation: u64,
        own: Lane,
        producer: Addr<TargetProducer>,
        router: &Addr<Router>,
        ctx: &Context<Self>,
    ) -> Life<CatchUp> {
        let lasting = &self.params.lasting;
        let (_, share) = self.params.plan.shares();
        let (plan, partitions) = (self.params.plan.clone(), self.partition_count());
        let progress = lasting.progress.clone();
        let (me, route) = (ctx.address(), ctx.address());
        Life::begin(CatchUp::new(CatchUpParams {
            route: self.name().into(),
            target: index,
            open_reader: Box::new(move || open_reader(&plan, share / 4, partitions, &progress)),
            lane: own,
            batch_bytes: self.params.plan.batch.max_bytes.min(share),
            read_limit: Some(lasting.read_limit.clone()),
            producer,
            router: router.clone(),
            owner: me.clone().recipient(),
            gone: me.recipient(),
            generation,
            rounds: self.params.rounds,
            retries: lasting.retries.clone(),
            progress: lasting.progress.clone(),
            watch: Box::new(move |actor| Self::watch_for_panic(&route, Child::Target(index), actor, generation)),
        }))
    }
}
