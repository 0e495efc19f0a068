//! The hot path of librdkafka that its safe wrapper lacks, and the only `unsafe` code of the project.
//!
//! Reading (`ffi/read.rs`): [`Stream`] takes many messages of one partition at a time (`rd_kafka_consume_batch_queue`); the wrapper
//! goes message by message. Each partition is started by itself (`rd_kafka_consume_start`), so that each has a queue
//! of its own from the start and can wait without holding up another.
//!
//! Writing (`ffi/write.rs`): [`Producer`] hands records over by reference; the wrapper copies every one. What makes that sound:
//! - a slot holds the batch (an `Arc`) until librdkafka has reported on every record of it that it took;
//! - the records' bytes are never written to after the batch is made, and librdkafka only reads them;
//! - when a producer is dropped, the client is destroyed before the slots are (the order of the fields), and
//!   `rd_kafka_destroy` returns only after all of its threads have ended.
//!
//! Sharing (`ffi/member.rs`): [`Member`] is in a group, and answers a rebalance when it is ready for it; the wrapper has to do so at
//! once.
//!
//! Committing (`ffi/commit.rs`): [`Committer`] bounds the time of a commit (`rd_kafka_AlterConsumerGroupOffsets`); what the wrapper was
//! asked to commit is tried again by librdkafka whenever that can be.
//!
//! What the client's threads count (`ffi/watch.rs`) is shared with them, and kept until they have ended.
//!
//! Every pointer here comes from librdkafka, is checked for null where it may be, and is owned by exactly one value.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaType;

use super::client::Context;

mod commit;
mod member;
mod metadata;
mod read;
mod watch;
mod write;

pub(super) use commit::Committer;
pub(super) use member::{Member, POLL, Told};
pub(super) use metadata::{controller, metadata_of, topic_ids};
pub(super) use read::{Consumer, Message, Stream};
pub(super) use write::{Producer, Written};

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

/// # Safety
/// `at` is null, or points to `len` bytes that live as long as `'a`.
unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) })
}

fn new_client(config: &ClientConfig, kind: RDKafkaType, context: Context) -> KafkaResult<Client<Context>> {
    let native = config.create_native_config()?;
    let events = sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_REBALANCE;
    // SAFETY: the configuration is alive; events replace callbacks, which this module does not set.
    unsafe { sys::rd_kafka_conf_set_events(native.ptr(), events) };
    let wire = context.wire().clone();
    // SAFETY: the client keeps its context until it is destroyed, which ends its threads first; see below for the rest.
    unsafe { watch::watch(&native, &context) }?;
    let client = Client::new(config, native, kind, context);
    if client.is_err() {
        std::mem::forget(wire); // a client that was made in part may have left a thread that counts
    }
    client
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

/// Every error code that the linked library knows, with its name for it.
#[cfg(test)]
pub(super) fn known_codes() -> Vec<(RDKafkaErrorCode, String)> {
    let (mut descriptions, mut count) = (ptr::null(), 0);
    // SAFETY: the library's own table, which is never freed.
    let table = unsafe {
        sys::rd_kafka_get_err_descs(&raw mut descriptions, &raw mut count);
        std::slice::from_raw_parts(descriptions, count)
    };
    // gaps between the codes, and the marks at the ends, have no text
    let known = table.iter().filter(|row| !row.desc.is_null());
    // SAFETY: names are C strings where there is a text.
    known.map(|row| (row.code.into(), unsafe { lossy(row.name) })).collect()
}
