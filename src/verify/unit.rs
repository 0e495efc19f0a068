//! One comparison and the streams that feed it.

use crate::domain::batch::RecordBatch;
use crate::domain::fault::Fault;
use crate::domain::records::Record;
use crate::domain::routing::Partitioning;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::StreamId;

use super::comparison::{Comparison, LaneScope, Rules, Seen, SourceScope, Verdict};
use super::envelopes::{Envelopes, Opened};
use super::fingerprint::Fingerprint;
use super::outcome::Outcome;
use super::streams::Streams;

/// The cluster that is read as source, and as target, among those of the streams.
pub(super) const SOURCE: usize = 0;
pub(super) const TARGET: usize = 1;

/// Source partitions and the target partitions that they go to, by their positions in the topic's scope.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) sources: Vec<(usize, TopicPartition, SourceScope)>,
    pub(super) lanes: Vec<(usize, TopicPartition, LaneScope)>,
}

/// What all units of a topic have in common.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) cluster: String,
    pub(super) partitioning: Partitioning,
    pub(super) partitions: i32,
    pub(super) rules: Rules,
    pub(super) since: Option<i64>,
}

/// A partition as it is read.
struct Input {
    stream: StreamId,
    partition: TopicPartition,
    end: i64,
    /// The batch that is being looked at, and the next record in it.
    batch: Option<(RecordBatch, usize)>,
    ended: bool,
    bytes: u64,
    position: i64,
}

/// A comparison on its way.
pub(super) struct Unit {
    context: Context,
    part: Part,
    comparison: Comparison,
    sources: Vec<Input>,
    lanes: Vec<Input>,
    envelopes: Vec<Envelopes>,
    waiting: Vec<bool>,
    /// The fingerprint of the record that waits: a part of an envelope can't be opened twice.
    held: Vec<Option<(i64, Fingerprint)>>,
    kept: u64,
}

/// A partition of which what comes next is gone.
pub(super) struct Lost {
    /// Which cluster.
    pub(super) side: usize,
    at: usize,
    pub(super) partition: TopicPartition,
    pub(super) fault: Fault,
}

/// What a unit came to.
pub(super) struct Finished {
    pub(super) part: Part,
    pub(super) outcome: Outcome,
    pub(super) kept: u64,
    pub(super) source_bytes: u64,
    pub(super) target_bytes: u64,
}

impl Unit {
    pub(super) fn start(context: &Context, part: Part, streams: &mut Streams) -> Self {
        let mut open = |side: usize, partition: &TopicPartition, from: i64, end: i64| Input {
            stream: streams.start(side, partition.clone(), from, end),
            partition: partition.clone(),
            end,
            batch: None,
            ended: false,
            bytes: 0,
            position: from,
        };
        let sources: Vec<Input> =
            part.sources.iter().map(|(_, tp, scope)| open(SOURCE, tp, scope.start, scope.end)).collect();
        let lanes: Vec<Input> =
            part.lanes.iter().map(|(_, tp, scope)| open(TARGET, tp, scope.start, scope.end)).collect();
        let comparison = Comparison::new(
            context.rules,
            part.sources.iter().map(|(_, _, scope)| scope.clone()).collect(),
            part.lanes.iter().map(|(_, _, scope)| scope.clone()).collect(),
        );
        let envelopes = lanes.iter().map(|_| Envelopes::default()).collect();
        let (waiting, held) = (vec![false; lanes.len()], vec![None; lanes.len()]);
        Self { context: context.clone(), part, comparison, sources, lanes, envelopes, waiting, held, kept: 0 }
    }

    /// The streams that it reads.
    pub(super) fn streams(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.sources.iter().chain(&self.lanes).map(|input| input.stream)
    }

    /// How many offsets were passed so far, on both sides.
    pub(super) fn passed(&self) -> u64 {
        let of = |(input, start): (&Input, i64)| u64::try_from(input.position.min(input.end) - start).unwrap_or(0);
        let sources = self.sources.iter().zip(self.part.sources.iter().map(|(_, _, scope)| scope.start));
        let lanes = self.lanes.iter().zip(self.part.lanes.iter().map(|(_, _, scope)| scope.start));
        sources.chain(lanes).map(of).sum()
    }

    /// Goes on as far as what was read allows. `true`: it is done.
    pub(super) fn advance(&mut self, streams: &mut Streams) -> bool {
        loop {
            let mut moved = false;
            for lane in 0..self.lanes.len() {
                moved |= self.advance_lane(lane, streams);
            }
            for source in 0..self.sources.len() {
                moved |= self.advance_source(source, streams);
            }
            if !moved {
                break;
            }
        }
        let open = |source: usize| self.comparison.is_open(source);
        self.lanes.iter().all(|lane| lane.ended) && !(0..self.sources.len()).any(open)
    }

    fn advance_lane(&mut self, lane: usize, streams: &mut Streams) -> bool {
        let mut moved = false;
        while !self.lanes[lane].ended {
            if self.lanes[lane].batch.is_none() {
                let stream = self.lanes[lane].stream;
                self.lanes[lane].batch = streams.next(stream).map(|batch| (batch, 0));
            }
            let Some((batch, at)) = self.lanes[lane].batch.take() else {
                self.lanes[lane].ended = streams.is_done(self.lanes[lane].stream);
                if self.lanes[lane].ended {
                    self.comparison.lane_ended(lane);
                    moved = true;
                }
                return moved;
            };
            let reached = self.show(lane, &batch, at);
            moved |= reached > at;
            if reached < batch.payload.record_count() {
                self.lanes[lane].batch = Some((batch, reached));
                self.waiting[lane] = true;
                return moved;
            }
            moved = true;
            self.waiting[lane] = false;
            self.lanes[lane].bytes += batch.payload.data_bytes();
            self.lanes[lane].position = batch.range.end;
            if self.comparison.is_satisfied(lane) {
                self.lanes[lane].ended = true;
                self.comparison.lane_ended(lane);
            }
        }
        moved
    }

    /// Shows the records of a batch from a position on; the position of the first that has to wait.
    fn show(&mut self, lane: usize, batch: &RecordBatch, from: usize) -> usize {
        let records = batch.payload.decoded();
        for at in from..records.len() {
            let Some(record) = records.get(at) else { return records.len() };
            if record.offset >= self.lanes[lane].end {
                return records.len();
            }
            if !self.show_one(lane, &record) {
                return at;
            }
        }
        records.len()
    }

    /// `false`: it has to wait for more of the source.
    fn show_one(&mut self, lane: usize, record: &Record<'_>) -> bool {
        let sources = &self.part.sources;
        let is_source = |topic: &str| sources.iter().any(|(_, partition, _)| &*partition.topic == topic);
        let held = self.held[lane].take_if(|(offset, _)| *offset == record.offset);
        let print = match held.map(|(_, print)| print) {
            Some(print) => print,
            None => match self.envelopes[lane].open(&self.context.cluster, is_source, record) {
                Opened::Plain => Fingerprint::of(record),
                Opened::Part => return true,
                Opened::Whole(print) => {
                    self.kept += 1;
                    print
                }
            },
        };
        let aside = self.context.since.is_some_and(|since| record.timestamp < since);
        let verdict = self.comparison.target(lane, &Seen { offset: record.offset, print, aside });
        if verdict == Verdict::Wait {
            self.held[lane] = Some((record.offset, print));
        }
        verdict == Verdict::Taken
    }

    fn advance_source(&mut self, source: usize, streams: &mut Streams) -> bool {
        if self.sources[source].ended || !self.is_wanted(source) {
            return false;
        }
        let input = &mut self.sources[source];
        let Some(batch) = streams.next(input.stream) else {
            input.ended = streams.is_done(input.stream);
            if input.ended {
                self.comparison.source_ended(source);
            }
            return input.ended;
        };
        input.bytes += batch.payload.data_bytes();
        input.position = batch.range.end;
        let (number, end) = (input.partition.partition, input.end);
        let records = batch.payload.decoded();
        for record in records.iter().take_while(|record| record.offset < end) {
            let lane = match self.context.partitioning {
                Partitioning::Keep => 0,
                placing @ Partitioning::ByKey => {
                    usize::try_from(placing.place(number, record.key, self.context.partitions)).unwrap_or(0)
                }
            };
            let seen = Seen { offset: record.offset, print: Fingerprint::of_source(&record), aside: false };
            self.comparison.source(source, lane, &seen);
        }
        self.comparison.source_at(source, batch.range.end);
        true
    }

    /// A partition that can't be read on, as retention was faster.
    pub(super) fn lost(&self, streams: &mut Streams) -> Option<Lost> {
        let sides = [(SOURCE, &self.sources), (TARGET, &self.lanes)];
        let mut inputs =
            sides.into_iter().flat_map(|(side, inputs)| inputs.iter().enumerate().map(move |at| (side, at)));
        inputs.find_map(|(side, (at, input))| {
            let fault = streams.lost(input.stream)?;
            Some(Lost { side, at, partition: input.partition.clone(), fault })
        })
    }

    /// Reads a lost partition on from the first offset that is there.
    pub(super) fn read_on(&mut self, lost: &Lost, from: i64, streams: &mut Streams) {
        let inputs = if lost.side == SOURCE { &mut self.sources } else { &mut self.lanes };
        let Some(input) = inputs.get_mut(lost.at) else { return };
        streams.stop(input.stream);
        input.stream = streams.start(lost.side, input.partition.clone(), from, input.end);
        input.position = from;
        if lost.side == SOURCE {
            self.comparison.source_lost(lost.at, from);
        } else {
            self.comparison.lane_lost(lost.at, from);
        }
    }

    fn is_wanted(&self, source: usize) -> bool {
        let for_lane = |lane: usize| self.waiting[lane] && self.comparison.wants(source, lane);
        (0..self.lanes.len()).any(for_lane)
            || (self.lanes.iter().all(|lane| lane.ended) && self.comparison.is_open(source))
    }

    /// All streams end; what it came to.
    pub(super) fn finish(self, streams: &mut Streams) -> Finished {
        for stream in self.streams() {
            streams.stop(stream);
        }
        let bytes = |inputs: &[Input]| inputs.iter().map(|input| input.bytes).sum();
        Finished {
            source_bytes: bytes(&self.sources),
            target_bytes: bytes(&self.lanes),
            part: self.part,
            outcome: self.comparison.finish(),
            kept: self.kept,
        }
    }
}
