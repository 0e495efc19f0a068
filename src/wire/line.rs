//! What goes to one broker: its partitions stand in line, and a connection takes them as it has room.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use kafka_protocol::messages::{ApiKey, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use super::connection::{Connection, Who};
use super::directory::BrokerId;
use super::inlet::Inlet;
use super::links::{Link, Links};
use super::outbound::Sent;
use super::produce::{self, Outgoing, Part, VERSIONS};
use super::runtime;
use super::socket::Socket;
use super::writer::{Writing, ends_producer, list, list_after};
use crate::domain::fallback::Fallback;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::codes;

/// A request is closed once it has so many bytes.
const FULL: usize = 1 << 20;
/// How soon a broker is tried again that could not be reached, and at the latest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Who leads something no more says so within this time, if it can say anything.
const ANSWER: Duration = Duration::from_secs(5);
/// A connection that nothing goes over is closed after this long, before the broker does it.
const IDLE: Duration = Duration::from_secs(240);
/// How often it is looked whether a broker that has throttled allows more by now.
const TICK: Duration = Duration::from_millis(250);

/// Partitions with something for a broker, in the order of their turns.
#[derive(Default)]
pub(super) struct Line {
    partitions: RefCell<VecDeque<TopicPartition>>,
    filled: Notify,
    gone: Notify,
    /// Whether the broker has answered since it failed last.
    answered: Cell<bool>,
}

impl Line {
    pub(super) fn push(&self, partition: TopicPartition) {
        self.partitions.borrow_mut().push_back(partition);
        self.filled.notify_one();
    }

    /// Another broker leads what this one has not answered for: it is not waited for any longer than it takes to answer.
    pub(super) fn hang_up(&self) {
        self.gone.notify_one();
    }

    fn pop(&self) -> Option<TopicPartition> {
        self.partitions.borrow_mut().pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partitions.borrow().is_empty()
    }
}

/// Serves a line for ever: connects when there is something in it.
pub(super) async fn serve(writing: Writing, over: Link, links: Rc<Links>) {
    let (line, mut pause) = (links.line(over), BACKOFF.0);
    loop {
        while line.is_empty() {
            line.filled.notified().await;
        }
        let (access, address) = {
            let shared = writing.borrow();
            (shared.access.clone(), shared.directory.address(over.broker).cloned())
        };
        let Some(address) = address else {
            // it is not in the cluster any more: others lead what it led
            unlist(&writing, over, line);
            continue;
        };
        let ended = match Connection::open(&access, &address).await {
            Ok(connection) => converse(&writing, over, &links, connection).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = ended {
            writing.borrow().trouble(fault);
            unlist(&writing, over, line);
            writing.borrow().ask.notify_one();
            runtime::rest(pause).await;
            pause = if line.answered.take() { BACKOFF.0 } else { (pause * 2).min(BACKOFF.1) };
            relist(&writing, over.broker);
        }
    }
}

/// Lets everybody out of the line.
fn unlist(writing: &Writing, over: Link, line: &Line) {
    let mut shared = writing.borrow_mut();
    while let Some(partition) = line.pop() {
        if let Some(outbound) = shared.partitions.get_mut(&partition) {
            outbound.listed.take_if(|listed| *listed == over);
            // it may go over another one, where this one is of no use
            if outbound.waits_for().is_none() {
                outbound.link = None;
            }
        }
    }
}

/// Puts all into line that have something for a broker.
fn relist(writing: &Writing, broker: BrokerId) {
    let mine: Vec<TopicPartition> = {
        let shared = writing.borrow();
        let leads = |partition: &&TopicPartition| {
            shared.directory.leader(partition).is_some_and(|leader| leader.broker == broker)
        };
        shared.partitions.keys().filter(leads).cloned().collect()
    };
    for partition in &mine {
        list(writing, partition);
    }
}

/// A request that is ready to go.
struct Composed {
    request: Outgoing,
    /// Which batch of each partition is in it.
    parts: Vec<(TopicPartition, u64)>,
    number: i32,
}

/// A request that was not answered yet.
struct Asked {
    number: i32,
    since: Instant,
    due: Instant,
    parts: Vec<(TopicPartition, u64)>,
}

struct Conversation<'a> {
    writing: &'a Writing,
    link: Link,
    links: &'a Links,
    line: &'a Line,
    who: Who,
    version: i16,
    outlet: WriteHalf<Socket>,
    asked: VecDeque<Asked>,
    /// Since when there was always something that the broker had to answer, or that had to be sent to it.
    busy: Instant,
    /// Whether the broker's last word was that it throttles.
    is_throttled: bool,
}

/// Speaks with a broker until the connection is of no use any more.
async fn converse(writing: &Writing, over: Link, links: &Links, connection: Connection) -> Result<(), Fault> {
    let line = links.line(over);
    let access = writing.borrow().access.clone();
    let (inlet, outlet, who) = connection.into_parts();
    let version = who.version(&access, ApiKey::Produce, VERSIONS.0, VERSIONS.1)?;
    let (answers, listening) = listen(inlet);
    let (asked, busy) = (VecDeque::new(), Instant::now());
    let mut conversation =
        Conversation { writing, link: over, links, line, who, version, outlet, asked, busy, is_throttled: false };
    let ended = conversation.go_on(answers).await;
    listening.abort();
    links.under_way(over, 0);
    if conversation.asked.is_empty() && (ended.is_ok() || line.is_empty()) {
        return Ok(()); // it was closed while nobody used it
    }
    let under_way: Vec<TopicPartition> =
        conversation.asked.drain(..).flat_map(|asked| asked.parts).map(|(partition, _)| partition).collect();
    for partition in under_way {
        if let Some(outbound) = writing.borrow_mut().partitions.get_mut(&partition) {
            outbound.lost();
        }
    }
    ended.map_err(|error| access.fault(FaultClass::System, &conversation.who.address, error))
}

type Answers = UnboundedReceiver<io::Result<Bytes>>;

/// Listens in a task of its own: an answer that has come in part must not be lost when something else happens.
fn listen(mut inlet: Inlet<ReadHalf<Socket>>) -> (Answers, tokio::task::JoinHandle<()>) {
    let (told, answers) = unbounded_channel();
    let listening = runtime::spawn(async move {
        loop {
            let answer = match inlet.begin().await {
                Ok(_) => inlet.rest().await,
                Err(error) => Err(error),
            };
            let broken = answer.is_err();
            if told.send(answer).is_err() || broken {
                return;
            }
        }
    });
    (answers, listening)
}

impl Conversation<'_> {
    async fn go_on(&mut self, mut answers: Answers) -> io::Result<()> {
        // of those who were told to hang up before there was this connection
        let _ = self.line.gone.notified().now_or_never();
        loop {
            if self.is_stale() && self.asked.is_empty() {
                return Ok(()); // another one takes its place
            }
            self.send_what_can_be_sent().await?;
            if self.asked.is_empty() && self.line.is_empty() {
                self.busy = Instant::now();
            }
            let muted = self.quiet_until().filter(|_| !self.line.is_empty());
            let has_room = self.links.has_room(self.link);
            if self.asked.is_empty() && !self.line.is_empty() && muted.is_none() && has_room {
                continue; // what kept it from sending has ended just now
            }
            let due = self.asked.front().map(|asked| asked.due);
            // who is told to hang up does so then, at the earliest
            let patient = self.asked.front().map(|asked| asked.since + ANSWER).filter(|until| *until > Instant::now());
            let quiet = Instant::now() + IDLE;
            tokio::select! {
                biased;
                answer = answers.recv() => {
                    self.hear(answer.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?)?;
                    while let Ok(answer) = answers.try_recv() {
                        self.hear(answer?)?;
                    }
                }
                () = runtime::until(patient.unwrap_or(quiet)), if patient.is_some() => {}
                () = self.line.gone.notified(), if patient.is_none() && due.is_some() => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer, and another broker leads now"));
                }
                () = self.line.filled.notified(), if muted.is_none() && has_room => {}
                () = self.links.room(self.link), if !has_room => {}
                () = runtime::until(muted.unwrap_or(quiet)), if muted.is_some() => {}
                () = runtime::until(due.unwrap_or(quiet)), if due.is_some() => {
                    self.writing.borrow().counts.timed_out(self.asked.len());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
                }
                () = runtime::until(quiet), if due.is_none() && self.line.is_empty() => return Ok(()),
            }
        }
    }

    /// When the next request may go; nothing where it may go now.
    fn quiet_until(&self) -> Option<Instant> {
        let wait = self.links.pace(|pace, now| {
            pace.sent(now, 0);
            pace.wait(now)
        });
        (!wait.is_zero()).then(|| Instant::now() + wait.min(TICK))
    }

    /// So many bytes go now.
    fn goes(&self, bytes: usize) {
        self.links.pace(|pace, now| {
            pace.take(now, bytes as u64);
            pace.sent(now, bytes as u64);
        });
    }

    /// How much may go at once.
    fn part(&self) -> usize {
        usize::try_from(self.links.pace(|pace, _| pace.part())).unwrap_or(usize::MAX).min(FULL)
    }

    fn is_stale(&self) -> bool {
        self.who.stale().is_some_and(|stale| stale <= Instant::now())
    }

    async fn send_what_can_be_sent(&mut self) -> io::Result<()> {
        while self.links.has_room(self.link) && !self.is_stale() && self.quiet_until().is_none() {
            let Some(Composed { request, parts, number }) = self.compose() else { return Ok(()) };
            let patience = self.writing.borrow().access.patience;
            let since = Instant::now();
            let due = since + patience;
            // noted first: of what was sent in part, nobody knows what became
            self.asked.push_back(Asked { number, since, due, parts });
            self.links.under_way(self.link, self.asked.len());
            self.writing.borrow().counts.moved(request.bytes());
            self.goes(request.bytes());
            let oldest = self.asked.front().map_or(since, |asked| asked.since);
            let another_leads = async {
                runtime::until(oldest + ANSWER).await;
                self.line.gone.notified().await;
            };
            let takes_nothing = |what| Err(io::Error::new(io::ErrorKind::TimedOut, what));
            tokio::select! {
                biased;
                sent = request.send(&mut self.outlet) => sent,
                () = another_leads => takes_nothing("it takes nothing, and another broker leads now"),
                () = runtime::until(due) => takes_nothing("it takes nothing"),
            }?;
        }
        Ok(())
    }

    /// The next request: one batch of each partition, in the order of their turns, until it is full.
    fn compose(&mut self) -> Option<Composed> {
        let mut taken = self.take_turns()?;
        // whoever has more gets in line again
        for (partition, _) in &taken {
            list(self.writing, partition);
        }
        taken.sort_by(|(a, _), (b, _)| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let mut header = BytesMut::with_capacity(64 + taken.len() * 96);
        let number = self.who.begin(ApiKey::Produce, self.version, &mut header);
        let part = |(partition, sent): &(TopicPartition, Sent)| Part {
            partition: partition.clone(),
            header: sent.batch.header_for(sent.identity, sent.sequence),
            batch: sent.batch.clone(),
        };
        let parts: Vec<Part> = taken.iter().map(part).collect();
        let request = Outgoing::new(header, &parts);
        let parts = taken.into_iter().map(|(partition, sent)| (partition, sent.number)).collect();
        Some(Composed { request, parts, number })
    }

    /// The next batch of each partition in line, until they fill a request; `None` where there is none.
    fn take_turns(&self) -> Option<Vec<(TopicPartition, Sent)>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let identity = self.writing.borrow().identity;
        let Some(identity) = identity else {
            // they are listed again once there is one
            unlist(self.writing, self.link, self.line);
            self.writing.borrow().ask.notify_one();
            return None;
        };
        let mut shared = self.writing.borrow_mut();
        let full = self.part();
        while bytes < full
            && let Some(partition) = self.line.pop()
        {
            let leads = shared.directory.leader(&partition).is_some_and(|leader| leader.broker == self.link.broker);
            let Some(outbound) = shared.partitions.get_mut(&partition) else { continue };
            if outbound.listed.take_if(|listed| *listed == self.link).is_none() {
                continue; // it stands in another line by now
            }
            if leads && let Some(sent) = outbound.send(self.link, identity, self.busy) {
                bytes += sent.batch.total_bytes();
                (0..sent.gathered).for_each(|_| shared.counts.fell_back(Fallback::Small));
                taken.push((partition, sent));
            }
        }
        (!taken.is_empty()).then_some(taken)
    }

    fn hear(&mut self, mut answer: Bytes) -> io::Result<()> {
        const NETWORK_EXCEPTION: i16 = 13;
        let strange = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let header = ResponseHeader::decode(&mut answer, ProduceResponse::header_version(self.version));
        let header = header.map_err(|error| strange(error.to_string()))?;
        if self.asked.front().is_none_or(|asked| asked.number != header.correlation_id) {
            return Err(strange("an answer to another question".to_owned()));
        }
        let said = produce::read(&answer, self.version).map_err(|error| strange(error.to_string()))?;
        let Some(asked) = self.asked.pop_front() else { return Ok(()) };
        self.links.under_way(self.link, self.asked.len());
        self.line.answered.set(true);
        for (partition, sent) in asked.parts {
            // a broker that says nothing of it may have it or not
            let code = said.codes.get(&partition).copied().unwrap_or(NETWORK_EXCEPTION);
            self.hear_of(&partition, sent, code);
        }
        self.heed(said.throttle);
        Ok(())
    }

    fn hear_of(&self, partition: &TopicPartition, sent: u64, code: i16) {
        let rest = self.writing.borrow_mut().answered(partition, sent, code);
        if ends_producer(code) {
            let shared = self.writing.borrow();
            let why =
                format!("cluster {}: {partition}: the producer ended: {}", shared.access.alias, codes::text(code));
            shared.fatal(Fault::new(FaultClass::System, why));
        }
        match rest {
            Some(rest) => {
                self.writing.borrow().ask.notify_one();
                list_after(self.writing, partition.clone(), rest);
            }
            None => list(self.writing, partition),
        }
    }

    /// A broker that throttles wants quiet for that long, and is told of as long as it does.
    fn heed(&mut self, throttle: Duration) {
        let was_throttled = std::mem::replace(&mut self.is_throttled, !throttle.is_zero());
        if was_throttled || self.is_throttled {
            self.links.pace(|pace, now| pace.throttled(now, throttle));
            self.writing.borrow().throttled(throttle);
        }
    }
}
