//! A member of a consumer group that is told of its partitions and takes its time to give them back. The safe wrapper
//! answers a rebalance within its callback, and gives no way to watch the client's heartbeats.

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaType;
use sys::rd_kafka_resp_err_t as err;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use super::{Queue, Wake, lossy, new_client, pass_error, pass_log};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::client::Context;

/// What a member was told. A rebalance goes on once it is answered: by [`Member::take`] or [`Member::give_back`].
pub(in crate::kafka) enum Told {
    /// These partitions are its own now.
    Given(Vec<TopicPartition>),
    /// These it has to give back. `lost`: others may have them already.
    Taken {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// Whether they are gone already.
        lost: bool,
    },
    /// The client reports trouble. It is passed to the context as well.
    Trouble(RDKafkaErrorCode),
}

/// A member of a group. It reads nothing, whatever it is given.
pub(in crate::kafka) struct Member {
    queue: Queue,
    client: Client<Context>,
}

impl Member {
    /// A member that has not joined yet; `wake` is called when it has something to say.
    pub(in crate::kafka) fn new(config: &ClientConfig, context: Context, wake: Wake) -> KafkaResult<Self> {
        let client = new_client(config, RDKafkaType::RD_KAFKA_CONSUMER, context)?;
        let none = || KafkaError::ClientCreation("librdkafka has no consumer queue".to_owned());
        // SAFETY: the client is alive; the queue's reference is handed to `Queue`.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client.native_ptr());
            Queue::new(sys::rd_kafka_queue_get_consumer(client.native_ptr()), wake)
        };
        Ok(Self { queue: queue.ok_or_else(none)?, client })
    }

    /// The context, for what it was told.
    pub(in crate::kafka) fn context(&self) -> &Context {
        self.client.context()
    }

    /// Joins the group for these topics, in place of any former ones.
    pub(in crate::kafka) fn subscribe(&self, topics: &[String]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for topic in topics {
            list.add_topic_unassigned(topic);
        }
        // SAFETY: the client and the list are alive; the list is copied.
        match unsafe { sys::rd_kafka_subscribe(self.client.native_ptr(), list.ptr()) } {
            OK => Ok(()),
            error => Err(KafkaError::Global(error.into())),
        }
    }

    /// Leaves the group. What it holds is taken first, and has to be given back.
    pub(in crate::kafka) fn leave(&self) {
        // SAFETY: the client is alive. It only fails where the client ends.
        unsafe { sys::rd_kafka_unsubscribe(self.client.native_ptr()) };
    }

    /// What it has to say, without waiting. Has to be called again and again: a member that is not heard of is put out.
    pub(in crate::kafka) fn poll(&self) -> Option<Told> {
        loop {
            // SAFETY: the queue is alive; the event is destroyed below, and read by the accessors of its own type.
            let event = unsafe { sys::rd_kafka_queue_poll(self.queue.queue.as_ptr(), 0) };
            if event.is_null() {
                return None;
            }
            let told = unsafe {
                let told = match sys::rd_kafka_event_type(event) {
                    sys::RD_KAFKA_EVENT_REBALANCE => self.rebalance(event),
                    sys::RD_KAFKA_EVENT_LOG => {
                        pass_log(self.client.context(), event);
                        None
                    }
                    sys::RD_KAFKA_EVENT_ERROR => {
                        pass_error(self.client.context(), event);
                        Some(Told::Trouble(sys::rd_kafka_event_error(event).into()))
                    }
                    _ => None,
                };
                sys::rd_kafka_event_destroy(event);
                told
            };
            if told.is_some() {
                return told;
            }
        }
    }

    /// # Safety
    /// `event` is a live rebalance event.
    unsafe fn rebalance(&self, event: *mut sys::rd_kafka_event_t) -> Option<Told> {
        // SAFETY: the list belongs to the event, and is only looked at while that lives.
        unsafe {
            let partitions = partitions_of(sys::rd_kafka_event_topic_partition_list(event));
            match sys::rd_kafka_event_error(event) {
                err::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Some(Told::Given(partitions)),
                err::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                    let lost = sys::rd_kafka_assignment_lost(self.client.native_ptr()) != 0;
                    Some(Told::Taken { partitions, lost })
                }
                _ => None,
            }
        }
    }

    /// Takes what it was given, and reads none of it: others do that, each partition by itself.
    pub(in crate::kafka) fn take(&self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        let list = list_of(partitions)?;
        // SAFETY: the client and the list are alive; the list is copied. An error is destroyed by `outcome`.
        unsafe {
            let rk = self.client.native_ptr();
            if self.is_eager() {
                check(sys::rd_kafka_assign(rk, list.ptr()))?;
            } else {
                outcome(sys::rd_kafka_incremental_assign(rk, list.ptr()))?;
            }
            check(sys::rd_kafka_pause_partitions(rk, list.ptr()))
        }
    }

    /// Gives back what was taken.
    pub(in crate::kafka) fn give_back(&self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        let list = list_of(partitions)?;
        // SAFETY: as in `take`.
        unsafe {
            let rk = self.client.native_ptr();
            if self.is_eager() {
                check(sys::rd_kafka_assign(rk, std::ptr::null()))
            } else {
                outcome(sys::rd_kafka_incremental_unassign(rk, list.ptr()))
            }
        }
    }

    /// Whether it holds nothing.
    pub(in crate::kafka) fn holds_nothing(&self) -> bool {
        let mut list = std::ptr::null_mut();
        // SAFETY: the client is alive; the list is destroyed here.
        unsafe {
            if sys::rd_kafka_assignment(self.client.native_ptr(), &raw mut list) != OK || list.is_null() {
                return true;
            }
            let count = (*list).cnt;
            sys::rd_kafka_topic_partition_list_destroy(list);
            count == 0
        }
    }

    /// The error that ended this member for good, if one did.
    pub(in crate::kafka) fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.fatal_error()
    }

    /// A group of members that were not all given a protocol of small steps goes the whole way each time.
    fn is_eager(&self) -> bool {
        // SAFETY: the client is alive; the name is a constant of the library.
        unsafe { lossy(sys::rd_kafka_rebalance_protocol(self.client.native_ptr())) == "EAGER" }
    }

    /// Begins to leave for good; [`is_closed`](Self::is_closed) tells when that is done, if it goes on being polled.
    pub(in crate::kafka) fn close(&self) {
        // SAFETY: the client and its queue are alive.
        let closing =
            unsafe { outcome(sys::rd_kafka_consumer_close_queue(self.client.native_ptr(), self.queue.queue.as_ptr())) };
        if let Err(error) = closing {
            self.client.context().log(RDKafkaLogLevel::Warning, "CLOSE", &error.to_string());
        }
    }

    /// Whether it has left.
    pub(in crate::kafka) fn is_closed(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { sys::rd_kafka_consumer_closed(self.client.native_ptr()) != 0 }
    }
}

/// # Safety
/// `list` is null or alive.
unsafe fn partitions_of(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<TopicPartition> {
    // SAFETY: by contract; a list has `cnt` elements, whose topics are C strings.
    unsafe {
        let Some(list) = list.as_ref() else { return Vec::new() };
        let count = usize::try_from(list.cnt).unwrap_or(0);
        let elements = (0..count).map(|at| &*list.elems.add(at));
        elements
            .map(|one| TopicPartition::new(CStr::from_ptr(one.topic).to_string_lossy().as_ref(), one.partition))
            .collect()
    }
}

/// From the end on, so that nothing has to be asked of the group's offsets, and nothing is there to be read.
fn list_of(partitions: &[TopicPartition]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::End)?;
    }
    Ok(list)
}

fn check(code: err) -> KafkaResult<()> {
    if code == OK { Ok(()) } else { Err(KafkaError::Global(code.into())) }
}

/// # Safety
/// `error` is null or owned by the caller, and given away here.
unsafe fn outcome(error: *mut sys::rd_kafka_error_t) -> KafkaResult<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: by contract.
    unsafe {
        let code = sys::rd_kafka_error_code(error);
        sys::rd_kafka_error_destroy(error);
        Err(KafkaError::Global(code.into()))
    }
}

/// How often a member has to be polled at the least.
pub(in crate::kafka) const POLL: Duration = Duration::from_millis(100);
