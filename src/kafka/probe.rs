//! Which leaders wrote single records: looked at where a log may have been cut off and grown anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::client::{Context, reader_config};
use super::ffi::{Consumer, Stream};
use super::wake::Inbox;
use crate::domain::fault::Fault;
use crate::domain::topic_partition::TopicPartition;
use crate::plan::ClusterSpec;

/// How long a look waits for its records: a partition without a leader is looked at another time.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is fetched for a look, in KiB: little.
const FETCH: u64 = 64;

/// A record that was found: at or after the offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: i64,
    /// The leader epoch that it was written in; -1 where the cluster does not tell.
    pub epoch: i32,
}

/// A client for looks at single records. Its calls block.
pub struct Probe {
    consumer: Arc<Consumer>,
    woken: Arc<Inbox<()>>,
}

impl Probe {
    /// A probe of `cluster`; it connects when it is used first.
    pub fn open(cluster: &ClusterSpec) -> Result<Self, Fault> {
        let woken: Arc<Inbox<()>> = Arc::default();
        let wake = woken.clone();
        let consumer =
            Consumer::new(&reader_config(cluster, FETCH), Context::new(cluster, None), Box::new(move || wake.push(())))
                .map_err(|error| Context::new(cluster, None).fault("the client for a look can't be made", &error))?;
        Ok(Self { consumer: Arc::new(consumer), woken })
    }

    /// The first committed record of each partition at or after an offset. `None` where there is none; those that do not
    /// answer in time, or can't be read there, are left out.
    pub fn look(&self, at: &[(TopicPartition, i64)]) -> HashMap<TopicPartition, Option<Seen>> {
        let until = Instant::now() + PATIENCE;
        let mut open: Vec<(TopicPartition, Stream)> = at.iter().filter_map(|(tp, at)| self.start(tp, *at)).collect();
        let mut found = HashMap::new();
        let mut woken = Vec::new();
        loop {
            open.retain_mut(|(partition, stream)| {
                let seen = match beginning(stream) {
                    Beginning::Unknown => return true,
                    Beginning::Record(seen) => Some(Some(seen)),
                    Beginning::End => Some(None),
                    Beginning::Unreadable => None,
                };
                found.extend(seen.map(|seen| (partition.clone(), seen)));
                false
            });
            let left = until.saturating_duration_since(Instant::now());
            if open.is_empty() || left.is_zero() {
                return found;
            }
            self.consumer.serve();
            self.woken.take(&mut woken, left.min(PATIENCE / 50));
            woken.clear();
        }
    }

    fn start(&self, partition: &TopicPartition, at: i64) -> Option<(TopicPartition, Stream)> {
        let woken = self.woken.clone();
        let wake = Box::new(move || woken.push(()));
        let stream = Stream::start(&self.consumer, &partition.topic, partition.partition, at, wake).ok()?;
        Some((partition.clone(), stream))
    }
}

/// What a stream begins with.
enum Beginning {
    /// Nobody knows yet.
    Unknown,
    Record(Seen),
    End,
    Unreadable,
}

fn beginning(stream: &mut Stream) -> Beginning {
    let Some(message) = stream.peek(1) else { return Beginning::Unknown };
    match message.error() {
        None => Beginning::Record(Seen { offset: message.offset(), epoch: message.leader_epoch() }),
        Some((RDKafkaErrorCode::PartitionEOF, _)) => Beginning::End,
        Some(_) => Beginning::Unreadable,
    }
}
