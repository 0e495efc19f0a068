//! Traces: one for each batch that is sampled, from when it was read until the last target has let go of it, with a span for what
//! becomes of it at each target. Names are those of OpenTelemetry's conventions for messaging, and our own begin with `anabranch.`.
//!
//! What is noted travels within the batch. A batch that is not sampled costs a random number, and nothing at all where nobody traces.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::clock::now;
use super::hand_over::Handed;
use super::letters::Story;
use super::progress::TargetIndex;
use crate::domain::batch::{OffsetRange, Payload, RecordBatch};
use crate::domain::records::Record;
use crate::domain::routing::Partitioning;
use crate::kafka::{Refusal, TargetTopic};

/// The header by which a record says to which trace it belongs, as the W3C's Trace Context has it.
const PARENT: &str = "traceparent";
/// So many other traces a batch's own is linked to, at the most.
const MOST_LINKS: usize = 32;
/// So many of its records are looked at for them.
const MOST_LOOKED_AT: usize = 1_000;

/// Where the traces of this process go, and which share of its batches has one.
struct Tracing {
    tracer: BoxedTracer,
    share: f64,
}

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// Has this share of all batches traced from now on, from 0 to 1. Only the first call in a process counts.
pub fn start(tracer: BoxedTracer, share: f64) {
    if share > 0.0 {
        // another one was first, and goes on
        let _ = TRACING.set(Tracing { tracer, share });
    }
}

/// A batch that was read, with the beginning of its trace if it is to have one.
pub(super) fn begin(batch: RecordBatch, route: &str, reads_for: Option<TargetIndex>) -> RecordBatch {
    match TRACING.get() {
        Some(tracing) if fastrand::f64() < tracing.share => {
            let traced = tracing.trace(&batch, route, reads_for);
            batch.with_companion(traced)
        }
        _ => batch,
    }
}

impl Tracing {
    fn trace(&'static self, batch: &RecordBatch, route: &str, reads_for: Option<TargetIndex>) -> Traced {
        let topic = batch.partition.topic.to_string();
        let read = if reads_for.is_some() { "own" } else { "shared" };
        let builder = SpanBuilder::from_name(format!("process {topic}"))
            .with_kind(SpanKind::Consumer)
            .with_links(links(&batch.payload))
            .with_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", topic),
                KeyValue::new("messaging.destination.partition.id", batch.partition.partition.to_string()),
                KeyValue::new("messaging.kafka.offset", batch.range.start),
                count(batch.payload.record_count()),
                KeyValue::new("anabranch.route", route.to_owned()),
                KeyValue::new("anabranch.read", read),
            ]);
        let root = self.tracer.build_with_context(builder, &Context::new());
        let parent = Context::new().with_remote_span_context(root.span_context().clone());
        Traced { tracing: self, root, parent, sends: Mutex::default() }
    }
}

/// The trace of one batch. It ends with the batch: when the last one that holds it lets go of it.
struct Traced {
    tracing: &'static Tracing,
    root: BoxedSpan,
    parent: Context,
    sends: Mutex<Vec<Send>>,
}

/// What becomes of the batch at one target.
struct Send {
    target: TargetIndex,
    span: BoxedSpan,
    offered: Duration,
    /// Whether anything was handed to the writer.
    handed: bool,
    /// Source offsets that are not acknowledged.
    left: i64,
    refusals: i64,
    diverted: i64,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced").finish_non_exhaustive()
    }
}

impl Traced {
    /// That of a batch, if it has one.
    fn of(batch: &RecordBatch) -> Option<&Self> {
        batch.companion()
    }

    fn sends(&self) -> MutexGuard<'_, Vec<Send>> {
        self.sends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of a target, if the batch is under way there; the latest life of it counts.
    fn change(&self, target: TargetIndex, change: impl FnOnce(&mut Send)) {
        if let Some(send) = self.sends().iter_mut().rev().find(|send| send.target == target) {
            change(send);
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        for mut send in self.sends().drain(..) {
            send.end("let go");
        }
        self.root.end();
    }
}

impl Send {
    fn end(&mut self, result: &'static str) {
        self.span.set_attribute(KeyValue::new("anabranch.result", result));
        if self.refusals > 0 {
            self.span.set_attribute(KeyValue::new("anabranch.refusals", self.refusals));
        }
        if self.diverted > 0 {
            self.span.set_attribute(KeyValue::new("anabranch.diverted", self.diverted));
            self.span.set_status(Status::error("the target did not take all of it"));
        }
        self.span.end();
    }
}

/// A target has taken the batch from the offset `from` on, and it waits there now.
pub(super) fn offered(batch: &RecordBatch, from: i64, target: TargetIndex, story: &Story, topic: &TargetTopic) {
    let Some(traced) = Traced::of(batch) else { return };
    let range = OffsetRange { start: batch.range.start.max(from), ..batch.range };
    let name = topic.name.to_string();
    let mut attributes = vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "send"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", name.clone()),
        count(batch.payload.positions_in(range).len()),
        KeyValue::new("anabranch.route", story.route.clone()),
        KeyValue::new("anabranch.target", story.target.clone()),
    ];
    if topic.partitioning == Partitioning::Keep {
        let partition = batch.partition.partition.to_string();
        attributes.push(KeyValue::new("messaging.destination.partition.id", partition));
    }
    let builder = SpanBuilder::from_name(format!("send {name}"));
    let builder = builder.with_kind(SpanKind::Producer).with_attributes(attributes);
    let span = traced.tracing.tracer.build_with_context(builder, &traced.parent);
    let left = range.end - range.start;
    let send = Send { target, span, offered: now(), handed: false, left, refusals: 0, diverted: 0 };
    traced.sends().push(send);
}

/// A part of it is with the target's writer: what it waited for that is over.
pub(super) fn handed(batch: &RecordBatch, target: TargetIndex) {
    let Some(traced) = Traced::of(batch) else { return };
    traced.change(target, |send| {
        if !std::mem::replace(&mut send.handed, true) {
            let waited = now().saturating_sub(send.offered).as_secs_f64();
            send.span.set_attribute(KeyValue::new("anabranch.waited", waited));
            send.span.add_event("handed over", Vec::new());
        }
    });
}

/// The target has refused something of it.
pub(super) fn refused(batch: &RecordBatch, target: TargetIndex, refusals: &[Refusal]) {
    let (Some(traced), Some(first)) = (Traced::of(batch), refusals.first()) else { return };
    traced.change(target, |send| {
        send.refusals += 1;
        let about = vec![
            KeyValue::new("error.type", first.fault.class.name()),
            KeyValue::new("anabranch.reason", first.fault.reason.clone()),
            KeyValue::new("anabranch.records", whole(refusals.len())),
        ];
        send.span.add_event("refused", about);
    });
}

/// A part of it has come to its end at the target: it is there, or where its policy has sent it.
pub(super) fn acknowledged(handed: &Handed, target: TargetIndex) {
    let Some(traced) = Traced::of(&handed.batch) else { return };
    traced.change(target, |send| {
        send.left -= handed.range.end - handed.range.start;
        send.diverted += handed.diverted.0.cast_signed();
        if send.left <= 0 {
            send.end("acknowledged");
        }
    });
    traced.sends().retain(|send| send.left > 0);
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(records: usize) -> KeyValue {
    KeyValue::new("messaging.batch.message_count", whole(records))
}

/// The traces that the batch's first records belong to, each once. Records are only looked at.
fn links(payload: &Payload) -> Vec<Link> {
    // one that can't be opened has no traces to show
    let Ok(records) = payload.records() else { return Vec::new() };
    let (propagator, none) = (TraceContextPropagator::new(), Context::new());
    let mut found = Vec::<SpanContext>::new();
    // what has other headers alone is not worth a context
    for carrier in records.iter().take(MOST_LOOKED_AT).map(Carrier).filter(|carrier| carrier.get(PARENT).is_some()) {
        let context = propagator.extract_with_context(&none, &carrier);
        let context = context.span().span_context().clone();
        if context.is_valid() && !found.contains(&context) {
            found.push(context);
            if found.len() == MOST_LINKS {
                break;
            }
        }
    }
    found.into_iter().map(Link::with_context).collect()
}

/// A record's headers, for who looks for a trace in them.
struct Carrier<'a>(Record<'a>);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut headers = self.0.headers();
        let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(key.as_bytes()))?;
        value.and_then(|value| std::str::from_utf8(value).ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.headers().filter_map(|(name, _)| std::str::from_utf8(name).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::records::{Header, Records};

    const TRACE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn records(headers: &[&[Header<'static>]]) -> Payload {
        let mut records = Records::default();
        for (offset, headers) in (0..).zip(headers) {
            records.push(offset, 0, None, None, headers.iter().copied());
        }
        Payload::Records(records)
    }

    #[test]
    fn records_of_traces_are_linked_each_trace_once_and_nonsense_is_ignored() {
        let traced: Header<'static> = ("traceparent".as_bytes(), Some(TRACE));
        let other = Some(&b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00"[..]);
        let batch = records(&[
            &[("a".as_bytes(), None), traced],
            &[],
            &[traced],
            &[("traceparent".as_bytes(), None)],
            &[("traceparent".as_bytes(), Some(b"\xff\xfe"))],
            &[("traceparent".as_bytes(), Some(b"00-00000000000000000000000000000000-b7ad6b7169203331-01"))],
            &[("traceparent".as_bytes(), Some(b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))],
            &[("Traceparent".as_bytes(), other)],
        ]);
        let links: Vec<String> = links(&batch).iter().map(|link| link.span_context.span_id().to_string()).collect();
        assert_eq!(links, ["b7ad6b7169203331", "00f067aa0ba902b7"]);
    }

    #[test]
    fn a_batch_has_so_many_links_and_no_more() {
        let parents: Vec<String> =
            (1..=100).map(|id| format!("00-0af7651916cd43dd8448eb211c80319c-{id:016x}-01")).collect();
        let mut batch = Records::default();
        for (offset, parent) in (0..).zip(&parents) {
            let header = ("traceparent".as_bytes(), Some(parent.as_bytes()));
            batch.push(offset, 0, None, None, std::iter::once(header));
        }
        assert_eq!(links(&Payload::Records(batch)).len(), MOST_LINKS);
    }
}
