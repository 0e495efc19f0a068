//! The hot path of librdkafka that its safe wrapper lacks, and the only `unsafe` code of the project.
//!
//! Reading: [`Stream`] takes many messages of one partition at a time (`rd_kafka_consume_batch_queue`); the wrapper
//! goes message by message. Each partition is started by itself (`rd_kafka_consume_start`), so that each has a queue
//! of its own from the start and can wait without holding up another.
//!
//! Writing: [`Producer`] hands records over by reference; the wrapper copies every one. What makes that sound:
//! - a slot holds the batch (an `Arc`) until librdkafka has reported on every record of it that it took;
//! - the records' bytes are never written to after the batch is made, and librdkafka only reads them;
//! - when a producer is dropped, the client is destroyed before the slots are (the order of the fields), and
//!   `rd_kafka_destroy` returns only after all of its threads have ended.
//!
//! Every pointer here comes from librdkafka, is checked for null where it may be, and is owned by exactly one value.
#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaType;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;
use sys::rd_kafka_vtype_t as vtype;

use super::client::Context;
use super::{Part, Write};
use crate::domain::batch::{Header, Payload, Record, SharedBatch};
use crate::domain::routing::Partitioning;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a delivery's slot and position are packed into one pointer of 64 bits");

/// Called on librdkafka's threads when a queue gets its first entry. It must not call librdkafka.
pub(super) type Wake = Box<dyn Fn() + Send + Sync>;

unsafe extern "C" fn wake_up(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the `Wake` of a `Queue`, which disables the callback before it frees it.
    let wake = unsafe { &*opaque.cast::<Wake>() };
    wake();
}

/// A queue of librdkafka, with its wake-up. Disables the wake-up and lets the queue go when dropped.
struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    wake: *mut Wake,
}

// SAFETY: librdkafka's queues may be used from any thread; the wake-up is `Send + Sync`.
unsafe impl Sync for Queue {}
unsafe impl Send for Queue {}

impl Queue {
    /// # Safety
    /// `queue` is owned by the caller and given away here.
    unsafe fn new(queue: *mut sys::rd_kafka_queue_t, wake: Wake) -> Option<Self> {
        let queue = NonNull::new(queue)?;
        let wake = Box::into_raw(Box::new(wake));
        // SAFETY: both pointers are valid until `drop`.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(wake_up), wake.cast()) };
        Some(Self { queue, wake })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: disabling takes the queue's lock, under which the callback runs: it can't be running afterwards.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            drop(Box::from_raw(self.wake));
        }
    }
}

/// A delivery report: the opaque value of the record, and its error.
type Report = (usize, sys::rd_kafka_resp_err_t);

/// Serves a main queue for up to `timeout_ms`: logs and errors go to the context, delivery reports to `reports`.
fn serve(client: &Client<Context>, queue: &Queue, timeout_ms: i32, reports: &mut Vec<Report>) {
    let mut timeout_ms = timeout_ms;
    loop {
        // SAFETY: the queue is alive; the event is destroyed below.
        let event = unsafe { sys::rd_kafka_queue_poll(queue.queue.as_ptr(), timeout_ms) };
        if event.is_null() {
            return;
        }
        timeout_ms = 0;
        // SAFETY: `event` is a live event, and its accessors are called for its own type.
        unsafe {
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_DR => take_reports(event, reports),
                sys::RD_KAFKA_EVENT_LOG => pass_log(client.context(), event),
                sys::RD_KAFKA_EVENT_ERROR => pass_error(client.context(), event),
                _ => {}
            }
            sys::rd_kafka_event_destroy(event);
        }
    }
}

/// # Safety
/// `event` is a live delivery report event.
unsafe fn take_reports(event: *mut sys::rd_kafka_event_t, reports: &mut Vec<Report>) {
    loop {
        // SAFETY: the message belongs to the event and is only looked at while it lives.
        let message = unsafe { sys::rd_kafka_event_message_next(event) };
        let Some(message) = (unsafe { message.as_ref() }) else { return };
        reports.push((message._private as usize, message.err));
    }
}

/// # Safety
/// `event` is a live log event.
unsafe fn pass_log(context: &Context, event: *mut sys::rd_kafka_event_t) {
    let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: on success the strings are valid as long as the event.
    unsafe {
        if sys::rd_kafka_event_log(event, &raw mut facility, &raw mut text, &raw mut level) == 0 {
            context.log(RDKafkaLogLevel::Info, &lossy(facility), &lossy(text));
        }
    }
}

/// # Safety
/// `event` is a live error event.
unsafe fn pass_error(context: &Context, event: *mut sys::rd_kafka_event_t) {
    // SAFETY: the string is valid as long as the event.
    unsafe {
        let code = RDKafkaErrorCode::from(sys::rd_kafka_event_error(event));
        context.error(KafkaError::Global(code), &lossy(sys::rd_kafka_event_error_string(event)));
    }
}

/// # Safety
/// `text` is null or a C string.
unsafe fn lossy(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and a C string by contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned()
}

fn new_client(config: &ClientConfig, kind: RDKafkaType, context: Context) -> KafkaResult<Client<Context>> {
    let native = config.create_native_config()?;
    // SAFETY: the configuration is alive; events replace callbacks, which this module does not set.
    unsafe { sys::rd_kafka_conf_set_events(native.ptr(), sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR) };
    Client::new(config, native, kind, context)
}

fn main_queue(client: &Client<Context>, wake: Wake) -> KafkaResult<Queue> {
    // SAFETY: the client is alive; the queue's reference is handed to `Queue`.
    unsafe { Queue::new(sys::rd_kafka_queue_get_main(client.native_ptr()), wake) }
        .ok_or_else(|| KafkaError::ClientCreation("librdkafka has no main queue".to_owned()))
}

/// A topic of one client, let go when dropped.
struct Topic(NonNull<sys::rd_kafka_topic_t>);

// SAFETY: topics of librdkafka are counted references that any thread may use.
unsafe impl Send for Topic {}

impl Topic {
    fn new(client: &Client<Context>, name: &str) -> KafkaResult<Self> {
        let bad = || KafkaError::ClientCreation(format!("no handle for topic {name}"));
        let text = CString::new(name).map_err(|_| bad())?;
        // SAFETY: the client is alive; the name is copied by librdkafka.
        let topic = unsafe { sys::rd_kafka_topic_new(client.native_ptr(), text.as_ptr(), ptr::null_mut()) };
        NonNull::new(topic).map(Self).ok_or_else(bad)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, destroyed once.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}

/// A consumer without a group: it starts and stops partitions one by one.
pub(super) struct Consumer {
    events: Queue,
    client: Client<Context>,
}

impl Consumer {
    /// A consumer; `wake` is called when it has something to say by itself (an error, a log line).
    pub(super) fn new(config: &ClientConfig, context: Context, wake: Wake) -> KafkaResult<Self> {
        let client = new_client(config, RDKafkaType::RD_KAFKA_CONSUMER, context)?;
        let events = main_queue(&client, wake)?;
        Ok(Self { events, client })
    }

    /// Passes on what the client has to say. Does not block.
    pub(super) fn serve(&self) {
        serve(&self.client, &self.events, 0, &mut Vec::new());
    }
}

/// A partition that is being read, with the messages that were taken from it. Stops it when dropped.
///
/// Messages never leave their stream, and go before its client does: librdkafka asks for both.
pub(super) struct Stream {
    taken: VecDeque<Message>,
    queue: Queue,
    topic: Topic,
    partition: i32,
    consumer: Arc<Consumer>,
}

impl Stream {
    /// Starts to read at `offset`; `wake` is called when the stream's queue gets its first entry.
    pub(super) fn start(
        consumer: &Arc<Consumer>,
        topic: &str,
        partition: i32,
        offset: i64,
        wake: Wake,
    ) -> KafkaResult<Self> {
        let handle = Topic::new(&consumer.client, topic)?;
        let name = CString::new(topic).map_err(|_| KafkaError::ClientCreation("a name with a zero".to_owned()))?;
        // SAFETY: the topic and the client are alive. The queue exists from here on, before the first fetch.
        let queue = unsafe {
            if sys::rd_kafka_consume_start(handle.0.as_ptr(), partition, offset) != 0 {
                return Err(KafkaError::MessageConsumption(sys::rd_kafka_last_error().into()));
            }
            let rk = consumer.client.native_ptr();
            Queue::new(sys::rd_kafka_queue_get_partition(rk, name.as_ptr(), partition), wake)
        };
        let queue = queue.ok_or(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownPartition))?;
        Ok(Self { taken: VecDeque::new(), queue, topic: handle, partition, consumer: consumer.clone() })
    }

    /// The next message. Takes up to `most` at a time from librdkafka, without waiting.
    pub(super) fn peek(&mut self, most: usize) -> Option<&Message> {
        if self.taken.is_empty() {
            let mut messages = vec![ptr::null_mut(); most.max(1)];
            let (array, room) = (messages.as_mut_ptr(), messages.len());
            // SAFETY: the array has that much room; each message returned is owned by us.
            let taken = unsafe { sys::rd_kafka_consume_batch_queue(self.queue.queue.as_ptr(), 0, array, room) };
            let taken = usize::try_from(taken).unwrap_or(0);
            self.taken.extend(messages.into_iter().take(taken).filter_map(NonNull::new).map(Message));
        }
        self.taken.front()
    }

    /// Lets the message go that [`peek`](Self::peek) showed.
    pub(super) fn pop(&mut self) {
        self.taken.pop_front();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: started once, stopped once; waits for the broker's thread to let go of the partition.
        if unsafe { sys::rd_kafka_consume_stop(self.topic.0.as_ptr(), self.partition) } != 0 {
            self.consumer.client.context().log(RDKafkaLogLevel::Warning, "STOP", "a partition was not being read");
        }
    }
}

/// A message that was read: a record, or what the client says in its place.
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message is owned by whoever holds it; librdkafka frees it from any thread.
unsafe impl Send for Message {}

impl Message {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: owned and alive until dropped.
        unsafe { self.0.as_ref() }
    }

    /// The error that stands in for a record, with its text.
    pub(super) fn error(&self) -> Option<(RDKafkaErrorCode, String)> {
        let raw = self.raw();
        if raw.err == OK {
            return None;
        }
        // SAFETY: an error's payload is its text, `len` bytes of it.
        let text = unsafe { bytes(raw.payload, raw.len) }.unwrap_or_default();
        Some((raw.err.into(), String::from_utf8_lossy(text).into_owned()))
    }

    /// Its offset; of the end of the partition where that was reached.
    pub(super) fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// Milliseconds since 1970, -1 where there is none.
    pub(super) fn timestamp(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) }
    }

    /// The key; null differs from empty.
    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: the message owns these bytes.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    /// The value; null differs from empty.
    pub(super) fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message owns these bytes.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// The headers in order.
    pub(super) fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; it keeps the headers.
        let found = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) } == OK;
        (0..).map_while(move |at| {
            // SAFETY: `headers` is valid where it was found, and lives as long as the message.
            if found { unsafe { header(headers, at) } } else { None }
        })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// `at` is null, or points to `len` bytes that live as long as `'a`.
unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at.cast::<u8>(), len) })
}

/// # Safety
/// `headers` is alive for `'a`.
unsafe fn header<'a>(headers: *const sys::rd_kafka_headers_t, at: usize) -> Option<Header<'a>> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: on success the name is a C string and the value null or `size` bytes, both owned by the headers.
    unsafe {
        let found = sys::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut size) == OK;
        (found && !name.is_null()).then(|| (CStr::from_ptr(name).to_bytes(), bytes(value, size)))
    }
}

/// The result of one [`Write`].
pub(super) struct Written {
    /// The ticket of the write.
    pub ticket: u64,
    /// Positions in the batch of the records that were refused, with the reasons; in rising order.
    pub refused: Vec<(u32, RDKafkaErrorCode)>,
}

/// A batch under way: kept until librdkafka has reported on all that it took.
struct Slot {
    ticket: u64,
    _batch: SharedBatch,
    open: usize,
    refused: Vec<(u32, RDKafkaErrorCode)>,
}

/// A producer that takes records by reference. The order of the fields matters: see the module's text.
pub(super) struct Producer {
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
    pub(super) fn new(config: &ClientConfig, context: Context, wake: Wake) -> KafkaResult<Self> {
        let client = new_client(config, RDKafkaType::RD_KAFKA_PRODUCER, context)?;
        let events = main_queue(&client, wake)?;
        let (topics, slots, free) = (HashMap::new(), Vec::new(), Vec::new());
        Ok(Self { topics, events, client, slots, free, reports: Vec::new(), restamped: 0 })
    }

    /// The error that ended this producer, if one did.
    pub(super) fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.fatal_error()
    }

    /// The context, to make faults of errors.
    pub(super) fn context(&self) -> &Context {
        self.client.context()
    }

    /// Hands a batch over. Its result comes by [`serve`](Self::serve), but for a batch of no records: that is done.
    pub(super) fn write(&mut self, write: &Write) -> KafkaResult<Option<Written>> {
        let topic = self.topic(&write.topic.name)?;
        let Payload::Records(records) = &write.batch.payload;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let batch = write.batch.clone();
        // the slot stands before the first record is handed over
        self.slots[slot] = Some(Slot { ticket: write.ticket, _batch: batch, open: 0, refused: Vec::new() });
        let source = write.batch.partition.partition;
        let target = |record: &Record<'_>| write.topic.partitioning.place(source, record.key, write.topic.partitions);
        debug_assert!(write.topic.partitioning != Partitioning::Keep || source < write.topic.partitions);
        match &write.part {
            Part::In(range) => {
                for position in records.first_from(range.start)..records.first_from(range.end) {
                    self.hand_over(topic, slot, position, records.get(position), &target);
                }
            }
            Part::Only(positions) => {
                for position in positions {
                    let position = *position as usize;
                    self.hand_over(topic, slot, position, records.get(position), &target);
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
    pub(super) fn restamped(&self) -> u64 {
        self.restamped
    }

    /// Takes the reports that are there, without waiting; errors and log lines go to the context.
    pub(super) fn serve(&mut self, done: &mut Vec<Written>) {
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
