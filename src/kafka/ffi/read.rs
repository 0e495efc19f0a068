//! Reading partitions, each from a queue of its own.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaType;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use super::{Queue, Topic, Wake, bytes, main_queue, new_client, serve};
use crate::domain::records::Header;
use crate::kafka::client::Context;

/// A consumer without a group: it starts and stops partitions one by one.
pub(in crate::kafka) struct Consumer {
    events: Queue,
    client: Client<Context>,
}

impl Consumer {
    /// A consumer; `wake` is called when it has something to say by itself (an error, a log line).
    pub(in crate::kafka) fn new(config: &ClientConfig, context: Context, wake: Wake) -> KafkaResult<Self> {
        let client = new_client(config, RDKafkaType::RD_KAFKA_CONSUMER, context)?;
        let events = main_queue(&client, wake)?;
        Ok(Self { events, client })
    }

    /// The context, for what it was told.
    pub(in crate::kafka) fn context(&self) -> &Context {
        self.client.context()
    }

    /// Passes on what the client has to say. Does not block.
    pub(in crate::kafka) fn serve(&self) {
        serve(&self.client, &self.events, 0, &mut Vec::new());
    }

    /// Asks any broker for the list of brokers, and for the topics that this client knows: whether one answers in time,
    /// and why not.
    pub(in crate::kafka) fn ask_for_brokers(&self, timeout: Duration) -> KafkaResult<()> {
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut metadata = ptr::null();
        // SAFETY: the client is alive; what comes back is destroyed once, and not looked at.
        let error = unsafe {
            let rk = self.client.native_ptr();
            let error = sys::rd_kafka_metadata(rk, 0, ptr::null_mut(), &raw mut metadata, timeout_ms);
            if !metadata.is_null() {
                sys::rd_kafka_metadata_destroy(metadata);
            }
            error
        };
        if error == OK { Ok(()) } else { Err(KafkaError::MetadataFetch(error.into())) }
    }
}

/// A partition that is being read, with the messages that were taken from it. Stops it when dropped.
///
/// Messages never leave their stream, and go before its client does: librdkafka asks for both.
pub(in crate::kafka) struct Stream {
    taken: VecDeque<Message>,
    queue: Queue,
    topic: Topic,
    partition: i32,
    consumer: Arc<Consumer>,
}

impl Stream {
    /// Starts to read at `offset`; `wake` is called when the stream's queue gets its first entry.
    pub(in crate::kafka) fn start(
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
    pub(in crate::kafka) fn peek(&mut self, most: usize) -> Option<&Message> {
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
    pub(in crate::kafka) fn pop(&mut self) {
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
pub(in crate::kafka) struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message is owned by whoever holds it; librdkafka frees it from any thread.
unsafe impl Send for Message {}

impl Message {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: owned and alive until dropped.
        unsafe { self.0.as_ref() }
    }

    /// The error that stands in for a record, with its text.
    pub(in crate::kafka) fn error(&self) -> Option<(RDKafkaErrorCode, String)> {
        let raw = self.raw();
        if raw.err == OK {
            return None;
        }
        // SAFETY: an error's payload is its text, `len` bytes of it.
        let text = unsafe { bytes(raw.payload, raw.len) }.unwrap_or_default();
        Some((raw.err.into(), String::from_utf8_lossy(text).into_owned()))
    }

    /// Its offset; of the end of the partition where that was reached.
    pub(in crate::kafka) fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// The epoch of the leader that wrote it; -1 where the broker does not tell.
    pub(in crate::kafka) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_leader_epoch(self.0.as_ptr()) }
    }

    /// Milliseconds since 1970, -1 where there is none.
    pub(in crate::kafka) fn timestamp(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) }
    }

    /// The key; null differs from empty.
    pub(in crate::kafka) fn key(&self) -> Option<&[u8]> {
        // SAFETY: the message owns these bytes.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    /// The value; null differs from empty.
    pub(in crate::kafka) fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message owns these bytes.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// The headers in order.
    pub(in crate::kafka) fn headers(&self) -> impl Iterator<Item = Header<'_>> {
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
/// `headers` is alive for `'a`.
unsafe fn header<'a>(headers: *const sys::rd_kafka_headers_t, at: usize) -> Option<Header<'a>> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: on success the name is a C string and the value null or `size` bytes, both owned by the headers.
    unsafe {
        let found = sys::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut size) == OK;
        (found && !name.is_null()).then(|| (CStr::from_ptr(name).to_bytes(), bytes(value, size)))
    }
}
