//! The writer: one thread and one idempotent producer for a target.
//!
//! Order is kept per partition: records are handed over in the order of the writes, by one thread, and librdkafka keeps
//! it through its own retries. Nothing times out here: a delivery that "timed out" may have been written.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::client::{Context, writer_config};
use super::fault_map::class_of;
use super::ffi::{Producer, Written};
use super::thread;
use super::wake::Inbox;
use super::wire::Wire;
use super::{Refusal, Write, WriteEvent, WriteSink, Writer};
use crate::domain::fault::Fault;
use crate::plan::ClusterSpec;

/// How often the client is looked after when nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// A [`Writer`] on librdkafka.
#[derive(Debug)]
pub struct KafkaWriter {
    inbox: Arc<Inbox<Item>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    wire: Arc<Wire>,
}

#[derive(Debug)]
enum Item {
    Write(Write),
    Events,
    Close,
}

impl KafkaWriter {
    /// Starts a writer to `cluster`.
    pub fn open(cluster: &ClusterSpec, sink: WriteSink) -> Result<Self, Fault> {
        let inbox: Arc<Inbox<Item>> = Arc::default();
        let trouble = sink.clone();
        let context = Context::new(cluster, Some(Arc::new(move |fault| trouble(WriteEvent::Trouble(fault)))));
        let wire = context.wire().clone();
        let events = inbox.clone();
        let doing = "the writer can't be made";
        let producer = Producer::new(&writer_config(cluster), context, Box::new(move || events.push(Item::Events)))
            .map_err(|error| Context::new(cluster, None).fault(doing, &error))?;
        let crashed = sink.clone();
        let worker = Worker { alias: cluster.alias.clone(), inbox: inbox.clone(), producer, sink, told: false };
        let crashed = move |fault| crashed(WriteEvent::Fatal(fault));
        let thread = thread::spawn("write", &cluster.alias, move || worker.run(), crashed)?;
        Ok(Self { inbox, thread: Mutex::new(Some(thread)), wire })
    }
}

impl Writer for KafkaWriter {
    fn write(&self, write: Write) {
        self.inbox.push(Item::Write(write));
    }

    fn wire_bytes(&self) -> u64 {
        self.wire.produced()
    }

    fn timed_out(&self) -> u64 {
        self.wire.timed_out()
    }

    fn close(&self) {
        self.inbox.push(Item::Close);
        // under the lock: whoever comes second waits, too
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            thread.join().unwrap_or_default(); // what it died of is told already
        }
    }
}

impl Drop for KafkaWriter {
    fn drop(&mut self) {
        self.inbox.push(Item::Close);
    }
}

struct Worker {
    alias: String,
    inbox: Arc<Inbox<Item>>,
    producer: Producer,
    sink: WriteSink,
    /// Whether it was said that timestamps of 0 can't be kept.
    told: bool,
}

impl Worker {
    fn run(mut self) {
        let mut items = Vec::new();
        let mut done = Vec::new();
        loop {
            self.inbox.take(&mut items, IDLE);
            for item in items.drain(..) {
                match item {
                    Item::Write(write) => self.write(&write, &mut done),
                    Item::Events => {}
                    Item::Close => return,
                }
                self.report(&mut done);
            }
            self.tell_of_restamped();
            self.report(&mut done);
        }
    }

    fn write(&mut self, write: &Write, done: &mut Vec<Written>) {
        match self.producer.write(write) {
            Ok(written) => done.extend(written),
            Err(error) => {
                let fault = self.producer.context().fault("a topic can't be written", &error);
                (self.sink)(WriteEvent::Fatal(fault));
            }
        }
    }

    /// The one thing that this path can't copy: said, because nothing is altered silently.
    fn tell_of_restamped(&mut self) {
        if !self.told && self.producer.restamped() > 0 {
            self.told = true;
            tracing::warn!(cluster = %self.alias, "records stamped 0 (1970-01-01T00:00:00.000Z) are written with a timestamp of 1 ms: \
                librdkafka takes 0 for the present time");
        }
    }

    fn report(&mut self, done: &mut Vec<Written>) {
        self.producer.serve(done);
        for throttle in self.producer.context().take_throttles() {
            (self.sink)(WriteEvent::Throttled(throttle));
        }
        let refused = done.iter().any(|written| !written.refused.is_empty());
        if refused && let Some((code, text)) = self.producer.fatal() {
            done.clear();
            let reason = format!("cluster {}: the producer ended: {text} ({code})", self.alias);
            return (self.sink)(WriteEvent::Fatal(Fault::new(class_of(code), reason)));
        }
        for written in done.drain(..) {
            let refused = written.refused.into_iter().map(|(position, code)| self.refusal(position, code)).collect();
            (self.sink)(WriteEvent::Written { ticket: written.ticket, refused });
        }
    }

    fn refusal(&self, position: u32, code: RDKafkaErrorCode) -> Refusal {
        Refusal { position, fault: Fault::new(class_of(code), format!("cluster {}: {code}", self.alias)) }
    }
}
