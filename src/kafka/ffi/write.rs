//! Writing records by reference.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaType;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;
use sys::rd_kafka_vtype_t as vtype;

use super::{Queue, Report, Topic, Wake, main_queue, new_client, serve};
use crate::domain::batch::{Payload, SharedBatch};
use crate::domain::raw::Raw;
use crate::domain::records::{Record, Records};
use crate::domain::routing::Partitioning;
use crate::format::Malformed;
use crate::kafka::client::Context;
use crate::kafka::{Part, Write};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a delivery's slot and position are packed into one pointer of 64 bits");

/// The result of one [`Write`].
pub(in crate::kafka) struct Written {
    /// The ticket of the write.
    pub ticket: u64,
    /// Positions in the batch of the records that were refused, with the reasons; in rising order.
    pub refused: Vec<(u32, RDKafkaErrorCode)>,
}

/// A batch under way: kept until librdkafka has reported on all that it took.
struct Slot {
    ticket: u64,
    _batch: SharedBatch,
    /// Its records, where they had to be opened.
    _opened: Option<Arc<Records>>,
    open: usize,
    refused: Vec<(u32, RDKafkaErrorCode)>,
}

/// A producer that takes records by reference. The order of the fields matters: see the module's text.
pub(in crate::kafka) struct Producer {
    topics: HashMap<Arc<str>, Topic>,
    events: Queue,
    client: Client<Context>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    reports: Vec<Report>,
    restamped: u64,
}

impl Producer {
    /// A producer; `wake` is called when there are reports, errors or log lines to serve.
    pub(in crate::kafka) fn new(config: &ClientConfig, context: Context, wake: Wake) -> KafkaResult<Self> {
        let client = new_client(config, RDKafkaType::RD_KAFKA_PRODUCER, context)?;
        let events = main_queue(&client, wake)?;
        let (topics, slots, free) = (HashMap::new(), Vec::new(), Vec::new());
        Ok(Self { topics, events, client, slots, free, reports: Vec::new(), restamped: 0 })
    }

    /// The error that ended this producer, if one did.
    pub(in crate::kafka) fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.fatal_error()
    }

    /// The context, to make faults of errors.
    pub(in crate::kafka) fn context(&self) -> &Context {
        self.client.context()
    }

    /// Hands a batch over. Its result comes by [`serve`](Self::serve), but for a batch of no records: that is done.
    pub(in crate::kafka) fn write(&mut self, write: &Write) -> KafkaResult<Option<Written>> {
        let topic = self.topic(&write.topic.name)?;
        let Ok(opened) = open(write) else { return Ok(Some(unreadable(write))) };
        let (opened, base) = opened.map_or((None, 0), |(records, base)| (Some(Arc::new(records)), base));
        let records = opened.as_deref().unwrap_or_else(|| write.batch.payload.decoded());
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let batch = write.batch.clone();
        // the slot stands before the first record is handed over
        self.slots[slot] =
            Some(Slot { ticket: write.ticket, _batch: batch, _opened: opened.clone(), open: 0, refused: Vec::new() });
        let source = write.batch.partition.partition;
        let target = |record: &Record<'_>| write.topic.partitioning.place(source, record.key, write.topic.partitions);
        debug_assert!(write.topic.partitioning != Partitioning::Keep || source < write.topic.partitions);
        match &write.part {
            Part::In(range) => {
                for at in records.first_from(range.start)..records.first_from(range.end) {
                    self.hand_over(topic, slot, base + at, records.get(at), &target);
                }
            }
            Part::Only(positions) => {
                for position in positions {
                    let position = *position as usize;
                    let record = position.checked_sub(base).and_then(|at| records.get(at));
                    self.hand_over(topic, slot, position, record, &target);
                }
            }
        }
        Ok(self.finish_if_done(slot))
    }

    fn topic(&mut self, name: &Arc<str>) -> KafkaResult<NonNull<sys::rd_kafka_topic_t>> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.0);
        }
        let topic = Topic::new(&self.client, name)?;
        let handle = topic.0;
        self.topics.insert(name.clone(), topic);
        Ok(handle)
    }

    fn hand_over(
        &mut self,
        topic: NonNull<sys::rd_kafka_topic_t>,
        slot: usize,
        position: usize,
        record: Option<Record<'_>>,
        target: &impl Fn(&Record<'_>) -> i32,
    ) {
        let (Some(record), Some(Some(state))) = (record, self.slots.get_mut(slot)) else { return };
        #[allow(clippy::cast_possible_truncation)] // a batch has fewer than 2^32 records
        let position = position as u32;
        let opaque = (slot << 32) | position as usize;
        // SAFETY: the record's bytes belong to the slot's batch, which is kept until the report with this opaque.
        self.restamped += u64::from(record.timestamp == 0);
        match unsafe { produce(self.client.native_ptr(), topic, target(&record), &record, opaque) } {
            OK => state.open += 1,
            error => state.refused.push((position, error.into())),
        }
    }

    fn finish_if_done(&mut self, slot: usize) -> Option<Written> {
        let state = self.slots.get_mut(slot)?.take_if(|state| state.open == 0)?;
        self.free.push(slot);
        let mut refused = state.refused;
        refused.sort_unstable_by_key(|(position, _)| *position);
        Some(Written { ticket: state.ticket, refused })
    }

    /// How many records had a timestamp of 0, which librdkafka can't write.
    pub(in crate::kafka) fn restamped(&self) -> u64 {
        self.restamped
    }

    /// Takes the reports that are there, without waiting; errors and log lines go to the context.
    pub(in crate::kafka) fn serve(&mut self, done: &mut Vec<Written>) {
        let mut reports = std::mem::take(&mut self.reports);
        serve(&self.client, &self.events, 0, &mut reports);
        for (opaque, error) in reports.drain(..) {
            let (slot, position) = (opaque >> 32, opaque & 0xffff_ffff);
            let Some(Some(state)) = self.slots.get_mut(slot) else { continue };
            state.open -= 1;
            if error != OK {
                #[allow(clippy::cast_possible_truncation)] // masked to 32 bits above
                state.refused.push((position as u32, error.into()));
            }
            if state.open == 0 {
                done.extend(self.finish_if_done(slot));
            }
        }
        self.reports = reports;
    }
}

/// The records of those batches that a write needs, and the position of the first; nothing where they are open already.
fn open(write: &Write) -> Result<Option<(Records, usize)>, Malformed> {
    let Payload::Raw(raw) = &write.batch.payload else { return Ok(None) };
    let parts = match &write.part {
        Part::In(range) => raw.parts_in(*range),
        Part::Only(positions) => match (positions.first(), positions.last()) {
            (Some(first), Some(last)) => raw.parts_at(*first, *last),
            _ => &[],
        },
    };
    let base = parts.first().map_or(0, |part| part.positions().start as usize);
    Ok(Some((Raw::open_all(parts)?, base)))
}

/// What became of a write whose batch can't be opened.
fn unreadable(write: &Write) -> Written {
    let positions = match &write.part {
        Part::In(range) => write.batch.payload.positions_in(*range).filter_map(|at| u32::try_from(at).ok()).collect(),
        Part::Only(positions) => positions.clone(),
    };
    let refused = positions.into_iter().map(|position| (position, RDKafkaErrorCode::InvalidRecord)).collect();
    Written { ticket: write.ticket, refused }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let flags = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is alive; this only makes its end quicker.
        unsafe { sys::rd_kafka_purge(self.client.native_ptr(), flags) };
    }
}

/// Hands one record to librdkafka by reference.
///
/// # Safety
/// The record's bytes stay valid and unchanged until the report with `opaque`, or until the client is destroyed.
unsafe fn produce(
    rk: *mut sys::rd_kafka_t,
    topic: NonNull<sys::rd_kafka_topic_t>,
    partition: i32,
    record: &Record<'_>,
    opaque: usize,
) -> sys::rd_kafka_resp_err_t {
    let raw = |field: Option<&[u8]>| field.map_or((ptr::null_mut(), 0), |f| (f.as_ptr().cast_mut(), f.len()));
    let (value, value_len) = raw(record.value);
    let (key, key_len) = raw(record.key);
    // librdkafka takes 0 for "now"; a millisecond later is the closest that it can write
    let timestamp = if record.timestamp == 0 { 1 } else { record.timestamp };
    let headers = copy_headers(record);
    // SAFETY: the arguments follow `rd_kafka_producev`'s tags; the flags are 0, so the value is neither copied nor
    // freed (the key is copied). On success the headers belong to librdkafka, else they are freed here.
    unsafe {
        let error = sys::rd_kafka_producev(
            rk,
            vtype::RD_KAFKA_VTYPE_RKT,
            topic.as_ptr(),
            vtype::RD_KAFKA_VTYPE_PARTITION,
            partition,
            vtype::RD_KAFKA_VTYPE_MSGFLAGS,
            0_i32,
            vtype::RD_KAFKA_VTYPE_VALUE,
            value.cast::<c_void>(),
            value_len,
            vtype::RD_KAFKA_VTYPE_KEY,
            key.cast::<c_void>(),
            key_len,
            vtype::RD_KAFKA_VTYPE_TIMESTAMP,
            timestamp,
            vtype::RD_KAFKA_VTYPE_OPAQUE,
            opaque as *mut c_void,
            vtype::RD_KAFKA_VTYPE_HEADERS,
            headers,
            vtype::RD_KAFKA_VTYPE_END,
        );
        if error != OK && !headers.is_null() {
            sys::rd_kafka_headers_destroy(headers);
        }
        error
    }
}

/// The record's headers as librdkafka's own; null where there is none.
fn copy_headers(record: &Record<'_>) -> *mut sys::rd_kafka_headers_t {
    if !record.has_headers() {
        return ptr::null_mut();
    }
    // SAFETY: names and values are copied by librdkafka, with the lengths given.
    unsafe {
        let headers = sys::rd_kafka_headers_new(4);
        for (name, value) in record.headers() {
            let (at, len) = value.map_or((ptr::null(), 0), |v| (v.as_ptr(), v.len()));
            sys::rd_kafka_header_add(
                headers,
                name.as_ptr().cast(),
                name.len().cast_signed(),
                at.cast(),
                len.cast_signed(),
            );
        }
        headers
    }
}
