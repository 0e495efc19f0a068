//! Which leaders wrote single records: looked at where a log may have been cut off and grown anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::client::{Context, probe_config};
use super::ffi::{Consumer, Stream};
use super::wake::Inbox;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::ClusterSpec;

/// How long a look waits for its records: a partition without a leader is looked at another time.
const PATIENCE: Duration = Duration::from_secs(5);

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
    alias: String,
    consumer: Arc<Consumer>,
    woken: Arc<Inbox<()>>,
}

impl Probe {
    /// A probe of `cluster`; it connects when it is used first.
    pub fn open(cluster: &ClusterSpec) -> Result<Self, Fault> {
        let woken: Arc<Inbox<()>> = Arc::default();
        let wake = woken.clone();
        let consumer =
            Consumer::new(&probe_config(cluster), Context::new(cluster, None), Box::new(move || wake.push(())))
                .map_err(|error| Context::new(cluster, None).fault("the client for a look can't be made", &error))?;
        Ok(Self { alias: cluster.alias.clone(), consumer: Arc::new(consumer), woken })
    }

    /// The first record of each partition at or after an offset, all at the same time. `None` where there is none. One that does
    /// not answer in time is a fault of the class system: what was not looked at must not be taken to be well.
    pub fn look(&self, at: &[(TopicPartition, i64)]) -> Result<HashMap<TopicPartition, Option<Seen>>, Fault> {
        let until = Instant::now() + PATIENCE;
        let mut open = at.iter().map(|(tp, at)| self.start(tp, *at)).collect::<Result<Vec<_>, Fault>>()?;
        let mut found = HashMap::new();
        let mut woken = Vec::new();
        loop {
            open.retain_mut(|(partition, stream)| {
                match beginning(stream) {
                    Beginning::Unknown => return true,
                    Beginning::Record(seen) => found.insert(partition.clone(), Some(seen)),
                    Beginning::End => found.insert(partition.clone(), None),
                };
                false
            });
            let Some((partition, _)) = open.first() else { return Ok(found) };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason = format!("cluster {}: {partition} can't be looked at: no answer", self.alias);
                return Err(Fault::new(FaultClass::System, reason));
            }
            self.consumer.serve();
            self.woken.take(&mut woken, left.min(PATIENCE / 50));
            woken.clear();
        }
    }

    fn start(&self, partition: &TopicPartition, at: i64) -> Result<(TopicPartition, Stream), Fault> {
        let woken = self.woken.clone();
        let wake = Box::new(move || woken.push(()));
        let stream = Stream::start(&self.consumer, &partition.topic, partition.partition, at, wake)
            .map_err(|error| self.consumer.context().fault(&format!("{partition} can't be looked at"), &error))?;
        Ok((partition.clone(), stream))
    }
}

/// What a stream begins with.
enum Beginning {
    /// Nobody knows yet.
    Unknown,
    Record(Seen),
    End,
}

fn beginning(stream: &mut Stream) -> Beginning {
    /// Nothing is there, and nothing will be.
    const NOTHING: [RDKafkaErrorCode; 3] =
        [RDKafkaErrorCode::PartitionEOF, RDKafkaErrorCode::OffsetOutOfRange, RDKafkaErrorCode::AutoOffsetReset];
    loop {
        let Some(message) = stream.peek(1) else { return Beginning::Unknown };
        match message.error() {
            None => return Beginning::Record(Seen { offset: message.offset(), epoch: message.leader_epoch() }),
            Some((code, _)) if NOTHING.contains(&code) => return Beginning::End,
            // the client tries again by itself; what lasts ends with the patience
            Some(_) => stream.pop(),
        }
    }
}
