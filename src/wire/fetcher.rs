//! Fetches from one broker, for all streams whose partitions it leads.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Connection, close};
use super::directory::{BrokerId, Leader};
use super::fetch::{API, Answer, BY_ID, Terms, Topic, VERSIONS, Wanted, encode, receive};
use super::reader::{Shared, Shelf};
use super::runtime;
use super::session::Session;
use super::sift::{Purpose, Sieved, sift};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{ReadEvent, StreamId, codes};

/// How long a broker waits for something new, and how long where a partition is left out that may have room at any moment.
const WAIT_MS: (i32, i32) = (250, 10);
/// An answer has at most about so many bytes.
const ANSWER: i32 = 8 << 20;
/// How soon a broker is tried again that could not be reached, and at the latest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Requests follow each other by at least this much per partition: a broker looks through all of them for each, so that many
/// would cost it, and the reader, more than what they bring while records trickle in.
const SPACING: Duration = Duration::from_micros(20);
/// How long a partition rests that its leader could not give.
const REST: Duration = Duration::from_millis(100);

/// Fetches for ever: whenever one of its streams has room.
pub(super) async fn fetch(shelf: Shelf, broker: BrokerId, wake: Rc<Notify>) {
    let mut open = None;
    let mut pause = BACKOFF.0;
    let mut round = 0;
    loop {
        round += 1;
        let (wanted, terms) = wanted(&mut shelf.borrow_mut(), broker);
        if wanted.is_empty() {
            wake.notified().await;
            continue;
        }
        let next = Instant::now() + SPACING.saturating_mul(u32::try_from(wanted.len()).unwrap_or(u32::MAX));
        let fetched = fetch_once(&shelf, broker, &mut open, (&wanted, round), terms).await;
        // not where it is asked: a reader with permits at hand is hardly ever asked
        #[cfg(feature = "failpoints")]
        fail::fail_point!("reader");
        for (id, _) in &wanted {
            if let Some(reading) = shelf.borrow_mut().streams.get_mut(id) {
                reading.fetching.take_if(|from| *from == broker);
            }
        }
        match fetched {
            Ok(throttle) => {
                pause = BACKOFF.0;
                let now = Instant::now();
                let due = next.max(now + throttle);
                shelf.borrow().counts.throttled(throttle);
                if due >= now + runtime::TICK {
                    runtime::until(due).await;
                }
            }
            Err(fault) => {
                open = None;
                tracing::debug!(class = fault.class.name(), "{fault}");
                shelf.borrow().ask();
                runtime::rest(pause).await;
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
    }
}

/// What is to be fetched now.
fn wanted(shared: &mut Shared, broker: BrokerId) -> (Vec<(StreamId, Wanted)>, Terms) {
    let prefetch = shared.prefetch;
    let mut left_out = false;
    let mut wanted = Vec::new();
    for (id, reading) in &mut shared.streams {
        let Some(Leader { epoch, .. }) = shared.directory.leader(&reading.partition).filter(|one| one.broker == broker)
        else {
            continue;
        };
        // one that another broker led lately may still be under way there: what comes first counts
        if reading.fetching == Some(broker) || reading.rests || !reading.has_room(prefetch) {
            left_out = true;
            continue;
        }
        reading.fetching = Some(broker);
        let bytes = i32::try_from(reading.share).unwrap_or(i32::MAX);
        let partition = reading.partition.clone();
        let topic_id = reading.known.unwrap_or(0);
        let (from, last_epoch) = (reading.next, reading.last_epoch);
        wanted.push((*id, Wanted { partition, topic_id, from, bytes, leader_epoch: epoch, last_epoch }));
    }
    wanted.sort_by(|(_, a), (_, b)| a.partition.cmp(&b.partition));
    wanted.dedup_by(|(_, a), (_, b)| a.partition == b.partition);
    (wanted, Terms { max_wait_ms: if left_out { WAIT_MS.1 } else { WAIT_MS.0 }, max_bytes: ANSWER })
}

/// A connection to a broker, and what the broker keeps in mind of it.
struct Link {
    connection: Connection,
    session: Session,
}

async fn fetch_once(
    shelf: &Shelf,
    broker: BrokerId,
    link: &mut Option<Link>,
    (wanted, round): (&[(StreamId, Wanted)], usize),
    terms: Terms,
) -> Result<Duration, Fault> {
    let access = shelf.borrow().access.clone();
    let address = shelf.borrow().directory.address(broker).cloned();
    let gone = || access.fault(FaultClass::System, "a broker", "it is not in the cluster any more");
    let address = address.ok_or_else(gone)?;
    let Link { connection, session } = match link {
        Some(open) if open.connection.is_fit_for(&address) => open,
        _ => {
            let connection = Connection::open(&access, &address).await?;
            link.insert(Link { connection, session: Session::default() })
        }
    };
    let by_id = wanted.iter().all(|(_, wanted)| wanted.topic_id != 0);
    let version = connection.who().version(&access, API, VERSIONS.0, if by_id { VERSIONS.1 } else { BY_ID - 1 })?;
    let failed = |error: io::Error| access.fault(FaultClass::System, &address, error);
    let (inlet, outlet, who) = connection.parts();
    let mut request = BytesMut::new();
    let asked = who.begin(API, version, &mut request);
    let changes = session.changes(wanted.iter().map(|(_, wanted)| wanted), version, round);
    encode(&changes, terms, version, &mut request).map_err(|what| failed(io::Error::other(what)))?;
    close(&mut request, 0);
    let topics = topics(wanted, version);
    let exchange = async {
        outlet.write_all(&request).await?;
        outlet.flush().await?;
        receive(inlet, asked, version, |answer| {
            let of_topic = topics.get(&answer.topic).copied().unwrap_or_default();
            let found = of_topic.binary_search_by_key(&answer.partition, |(_, wanted)| wanted.partition.partition);
            if let Some((id, wanted)) = found.ok().and_then(|at| of_topic.get(at)) {
                take(shelf, broker, *id, wanted, answer);
            }
        })
        .await
    };
    let patience = access.patience + Duration::from_millis(u64::try_from(terms.max_wait_ms).unwrap_or(0));
    let said = tokio::time::timeout(patience, exchange).await;
    let said =
        said.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))).map_err(failed)?;
    shelf.borrow().counts.moved(said.bytes);
    if ends_session(said.code) {
        *session = Session::default();
    } else if said.code != 0 {
        return Err(access.fault(codes::class(said.code), &address, codes::text(said.code)));
    } else {
        session.answered(said.session);
    }
    Ok(Duration::from_millis(u64::try_from(said.throttle_ms).unwrap_or(0)))
}

/// Whether a broker has forgotten what it had in mind, or knows it by other names.
fn ends_session(code: i16) -> bool {
    const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
    const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
    const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;
    matches!(code, FETCH_SESSION_ID_NOT_FOUND | INVALID_FETCH_SESSION_EPOCH | FETCH_SESSION_TOPIC_ID_ERROR)
}

/// What is wanted of each topic, as an answer names it. `wanted` is in the order of the partitions.
fn topics(wanted: &[(StreamId, Wanted)], version: i16) -> HashMap<Topic, &[(StreamId, Wanted)]> {
    let named = |of_topic: &[(StreamId, Wanted)]| {
        let (_, first) = of_topic.first()?;
        Some(if version < BY_ID { Topic::Named(first.partition.topic.to_string()) } else { Topic::Id(first.topic_id) })
    };
    let topics = wanted.chunk_by(|(_, a), (_, b)| a.partition.topic == b.partition.topic);
    topics.filter_map(|of_topic| Some((named(of_topic)?, of_topic))).collect()
}

/// What is done with a partition's answer.
fn take(shelf: &Shelf, broker: BrokerId, id: StreamId, wanted: &Wanted, answer: Answer) {
    const OFFSET_OUT_OF_RANGE: i16 = 1;
    let mut shared = shelf.borrow_mut();
    let (counts, opens) = (shared.counts.clone(), shared.opens);
    let purpose = if opens { Purpose::Open } else { Purpose::PassOn(&counts) };
    let Some(reading) = shared.streams.get_mut(&id).filter(|reading| reading.next == wanted.from) else { return };
    reading.fetching.take_if(|from| *from == broker);
    if let Some((epoch, end)) = answer.parted {
        let why =
            format!("the log was truncated: epoch {epoch} ends at {end} there, and was read up to {}", wanted.from);
        let fault = shared.streams.get(&id).map(|reading| shared.fault(reading, FaultClass::Config, why));
        return fault.map_or((), |fault| shared.end(id, ReadEvent::Lost(fault)));
    }
    if answer.code == 0 {
        let is_empty = answer.records.is_empty();
        let sieved = sift(answer.records, wanted.from, &answer.aborted, purpose);
        if !sieved.sifted.is_empty() || sieved.malformed.is_some() {
            return hand_on(shelf, &mut shared, id, sieved);
        }
        if sieved.has_batches {
            rest(shelf, &mut shared, id, &wanted.partition); // it has what nobody asked for
        } else if !is_empty {
            reading.asks_for_more();
        }
        return;
    }
    let class = codes::class(answer.code);
    if class == FaultClass::System {
        shared.ask();
        return rest(shelf, &mut shared, id, &wanted.partition);
    }
    let Some(reading) = shared.streams.get(&id) else { return };
    let fault = shared.fault(reading, class, codes::text(answer.code));
    let lost = answer.code == OFFSET_OUT_OF_RANGE;
    shared.end(id, if lost { ReadEvent::Lost(fault) } else { ReadEvent::Failed(fault) });
}

/// Gives what came to who reads it; records wait a while for more, so that batches are not many.
fn hand_on(shelf: &Shelf, shared: &mut Shared, id: StreamId, sieved: Sieved) {
    let Some(reading) = shared.streams.get_mut(&id) else { return };
    reading.fetched(sieved.sifted);
    let wait = shared.limits.max_wait;
    let waits = shared.opens && !wait.is_zero() && sieved.malformed.is_none();
    if !waits || !reading.may_wait(&shared.limits, shared.prefetch) {
        shared.announce(id);
        if let Some(malformed) = sieved.malformed {
            // what came before it is read first, and then it is tried again
            shared.spoil(id, malformed);
        }
    } else if !reading.lingers {
        reading.lingers = true;
        let (due, shelf) = (Instant::now() + wait, shelf.clone());
        runtime::spawn(async move {
            runtime::until(due).await;
            let mut shared = shelf.borrow_mut();
            if let Some(reading) = shared.streams.get_mut(&id) {
                reading.lingers = false;
                let partition = reading.partition.clone();
                shared.announce(id);
                shared.wake(&partition); // it has room again where a permit was at hand
            }
        });
    }
}

/// A stream rests before it is fetched again.
fn rest(shelf: &Shelf, shared: &mut Shared, id: StreamId, partition: &TopicPartition) {
    if let Some(reading) = shared.streams.get_mut(&id) {
        reading.rests = true;
    }
    let due = Instant::now() + REST;
    let (shelf, partition) = (shelf.clone(), partition.clone());
    runtime::spawn(async move {
        runtime::until(due).await;
        rested(&shelf, id, &partition);
    });
}

fn rested(shelf: &Shelf, id: StreamId, partition: &TopicPartition) {
    let mut shared = shelf.borrow_mut();
    if let Some(reading) = shared.streams.get_mut(&id) {
        reading.rests = false;
        shared.wake(partition);
    }
}
