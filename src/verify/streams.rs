//! Partitions that are read side by side, each up to an end, with a bounded number of batches ready.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::batch::{RecordBatch, Uncounted};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::reader::KafkaReader;
use crate::kafka::{ReadEvent, ReadSink, Reader, StreamId};
use crate::plan::{BatchLimits, ClusterSpec};

/// Batches that are ready per stream, or being read: how many there are is what bounds the memory.
const READY: usize = 2;
/// How long all streams may stand still before reading has failed.
const SILENCE: Duration = Duration::from_secs(45);

/// The streams of one or several clusters.
pub(super) struct Streams {
    readers: Vec<KafkaReader>,
    names: Vec<String>,
    events: Receiver<(StreamId, ReadEvent)>,
    sink: ReadSink,
    open: HashMap<StreamId, Stream>,
    next: u64,
    batch_bytes: u64,
    heard: Instant,
}

struct Stream {
    reader: usize,
    partition: TopicPartition,
    position: i64,
    end: i64,
    ready: VecDeque<RecordBatch>,
    /// Whether a batch was asked for.
    asked: bool,
    /// Whether there is more to read.
    more: bool,
    lost: Option<Fault>,
}

impl Streams {
    /// Readers of these clusters; `batch_bytes` is the size of a batch, and of what a client holds ready per partition.
    pub(super) fn open(clusters: &[&ClusterSpec], batch_bytes: u64) -> Result<Self, Fault> {
        let (sender, events): (Sender<(StreamId, ReadEvent)>, _) = channel();
        // who is gone wants to hear no more
        let sink: ReadSink = Arc::new(move |stream, event| drop(sender.send((stream, event))));
        let limits = BatchLimits { max_messages: 10_000, max_wait: Duration::from_millis(5), max_bytes: batch_bytes };
        let open = |cluster: &&ClusterSpec| KafkaReader::open(cluster, limits.clone(), batch_bytes);
        let readers = clusters.iter().map(open).collect::<Result<_, _>>()?;
        let names = clusters.iter().map(|cluster| cluster.alias.clone()).collect();
        let heard = Instant::now();
        Ok(Self { readers, names, events, sink, open: HashMap::new(), next: 0, batch_bytes, heard })
    }

    /// Reads a partition of the `reader`-th cluster from an offset up to an end.
    pub(super) fn start(&mut self, reader: usize, partition: TopicPartition, from: i64, end: i64) -> StreamId {
        let id = StreamId(self.next);
        self.next += 1;
        if from < end {
            self.readers[reader].start(id, partition.clone(), from, self.sink.clone());
        }
        let (ready, asked, more) = (VecDeque::new(), false, false);
        let stream = Stream { reader, partition, position: from, end, ready, asked, more, lost: None };
        self.open.insert(id, stream);
        self.heard = Instant::now();
        id
    }

    /// The next batch, if there is one. The last one may go beyond the end.
    pub(super) fn next(&mut self, id: StreamId) -> Option<RecordBatch> {
        let batch = self.open.get_mut(&id)?.ready.pop_front();
        self.ask(id);
        batch
    }

    /// Whether all was read, and taken.
    pub(super) fn is_done(&self, id: StreamId) -> bool {
        self.open.get(&id).is_none_or(|stream| stream.position >= stream.end && stream.ready.is_empty())
    }

    /// What a stream reads, and why it can't go on: what comes next is gone.
    pub(super) fn lost(&mut self, id: StreamId) -> Option<Fault> {
        let stream = self.open.get_mut(&id)?;
        if stream.ready.is_empty() { stream.lost.take() } else { None }
    }

    /// Ends a stream.
    pub(super) fn stop(&mut self, id: StreamId) {
        if let Some(stream) = self.open.remove(&id) {
            self.readers[stream.reader].stop(id);
        }
    }

    /// Waits for a little while for one of the streams: which one has something new. Fails when all of them stand still.
    pub(super) fn wait(&mut self) -> Result<Option<StreamId>, Fault> {
        match self.events.recv_timeout(Duration::from_millis(100)) {
            Ok((id, event)) => {
                self.heard = Instant::now();
                self.hear(id, event).map(|()| Some(id))
            }
            Err(RecvTimeoutError::Timeout) if self.heard.elapsed() < SILENCE => Ok(None),
            Err(_) => Err(self.silence()),
        }
    }

    fn silence(&self) -> Fault {
        let waiting = self.open.values().find(|stream| stream.ready.is_empty() && stream.position < stream.end);
        let what = waiting.map_or_else(
            || "nothing is read any more".to_owned(),
            |stream| {
                let (cluster, partition) = (&self.names[stream.reader], &stream.partition);
                format!("cluster {cluster}: no answer for {partition} from offset {}", stream.position)
            },
        );
        Fault::new(FaultClass::System, format!("{what}, for {} s", SILENCE.as_secs()))
    }

    fn hear(&mut self, id: StreamId, event: ReadEvent) -> Result<(), Fault> {
        let Some(stream) = self.open.get_mut(&id) else { return Ok(()) };
        match event {
            ReadEvent::Readable => stream.more = true,
            ReadEvent::Idle => (stream.asked, stream.more) = (false, false),
            ReadEvent::Batch { batch, more } => {
                (stream.asked, stream.more) = (false, more);
                stream.position = batch.range.end;
                stream.ready.push_back(batch);
                if stream.position >= stream.end {
                    self.readers[stream.reader].stop(id);
                }
            }
            ReadEvent::NeedsBytes(bytes) => {
                self.readers[stream.reader].read(id, Box::new(Uncounted(bytes)));
                return Ok(());
            }
            ReadEvent::Lost(fault) => stream.lost = Some(fault),
            ReadEvent::Failed(fault) => return Err(fault),
        }
        self.ask(id);
        Ok(())
    }

    fn ask(&mut self, id: StreamId) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.more && !stream.asked && stream.ready.len() < READY && stream.position < stream.end {
            (stream.asked, stream.more) = (true, false);
            self.readers[stream.reader].read(id, Box::new(Uncounted(self.batch_bytes)));
        }
    }
}
