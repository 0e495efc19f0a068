//! The pure parts that are passed once per record or per batch.

use std::hint::black_box;
use std::sync::Arc;

use anabranch::domain::batch::{OffsetRange, Payload, RecordBatch, Uncounted};
use anabranch::domain::limits::TopicLimits;
use anabranch::domain::records::Records;
use anabranch::domain::routing::{Partitioning, murmur2};
use anabranch::domain::topic_partition::TopicPartition;
use anabranch::domain::watermark::Watermark;
use anabranch::engine::feed::{Feed, Mode};
use anabranch::engine::flow::{Flow, Gate, Lane, Urgency};
use anabranch::engine::messages::Origin;
use anabranch::kafka::TargetTopic;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: i64 = 1000;
const BATCHES: i64 = 100;

fn fill(records: &mut Records) {
    let value = [7; 450];
    for offset in 0..RECORDS {
        let header: [(&[u8], Option<&[u8]>); 1] = [(b"trace-id", Some(b"0123456789abcdef"))];
        records.push(offset, offset, Some(b"order-12345"), Some(&value), header.into_iter());
    }
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("records");
    group.throughput(Throughput::Elements(RECORDS.unsigned_abs()));
    let mut filled = Records::default();
    fill(&mut filled);
    group.bench_function("push", |b| {
        b.iter(|| {
            let mut records = Records::with_capacity(filled.data_len());
            fill(&mut records);
            records
        });
    });
    group.bench_function("iterate", |b| {
        let size = |at: Option<&[u8]>| at.map_or(0, <[u8]>::len);
        b.iter(|| {
            let sizes = filled.iter().map(|record| {
                let headers: usize = record.headers().map(|(name, value)| name.len() + size(value)).sum();
                size(record.key) + size(record.value) + headers
            });
            sizes.sum::<usize>()
        });
    });
    group.finish();
}

fn keys(c: &mut Criterion) {
    c.bench_function("murmur2 of 16 bytes", |b| b.iter(|| murmur2(black_box(b"order-1234567890"))));
}

fn watermarks(c: &mut Criterion) {
    let mut group = c.benchmark_group("watermark");
    group.throughput(Throughput::Elements(BATCHES.unsigned_abs()));
    group.bench_function("acknowledge", |b| {
        b.iter(|| {
            let mut watermark = Watermark::at(0);
            for start in 0..BATCHES {
                watermark.open(OffsetRange { start, end: start + 1 });
            }
            // each second one overtakes the one before it
            for end in (1..BATCHES).step_by(2).flat_map(|end| [end + 1, end]) {
                watermark.acknowledge(end);
            }
            watermark.offset()
        });
    });
    group.finish();
}

fn flow(c: &mut Criterion) {
    let flow = Arc::<Flow>::default();
    let lane = Lane::new(&flow, [Gate::new(64 << 20), Gate::new(32 << 20)], Urgency::Live);
    c.bench_function("flow: acquire and release", |b| {
        b.iter(|| lane.acquire(black_box(1 << 20)).try_recv().expect("there is room"));
    });
}

fn feeds(c: &mut Criterion) {
    let limits = TopicLimits::default();
    let topic = TargetTopic { name: "t".into(), partitions: 1, partitioning: Partitioning::Keep, limits };
    let topic = Arc::new(topic);
    let batch = |start| {
        let range = OffsetRange { start, end: start + 1 };
        let payload = Payload::Records(Records::default());
        Arc::new(RecordBatch::new(TopicPartition::new("t", 0), range, payload, Box::new(Uncounted(0))))
    };
    let batches: Vec<_> = (0..BATCHES).map(batch).collect();
    let now = tokio::time::Instant::now();
    let mut group = c.benchmark_group("feed");
    group.throughput(Throughput::Elements(BATCHES.unsigned_abs()));
    group.bench_function("offer and take", |b| {
        b.iter(|| {
            let mut feed = Feed::new(topic.clone(), 0, 0);
            feed.mode = Mode::Attached;
            feed.acknowledged = Some(now);
            for batch in &batches {
                feed.offer(batch.clone(), Origin::Live);
                black_box(feed.take(now, u64::MAX));
            }
            feed
        });
    });
    group.finish();
}

criterion_group! {
    name = pure;
    config = Criterion::default().without_plots().sample_size(20);
    targets = batches, keys, watermarks, flow, feeds
}
criterion_main!(pure);
