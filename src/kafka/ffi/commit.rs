//! Commits for a group that has no members, each of which ends within its time: what was not sent by then never is. (What was, the
//! kernel may still deliver.)
//!
//! The wrapper's commit is tried again by librdkafka, as long as that takes and at whatever broker coordinates the group by then;
//! meanwhile others may have committed more, and an old commit that arrives after theirs puts watermarks back.

use std::collections::BTreeSet;
use std::ffi::{CString, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaType;
use sys::rd_kafka_admin_op_t as admin_op;
use sys::rd_kafka_resp_err_t as err;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use super::{Queue, lossy, main_queue, new_client, serve};
use crate::kafka::client::Context;

/// How long an answer is waited for before it is asked whether to go on.
const SLICE_MS: c_int = 500;

/// A client that commits.
pub(in crate::kafka) struct Committer {
    events: Queue,
    client: Client<Context>,
}

impl Committer {
    pub(in crate::kafka) fn new(config: &ClientConfig, context: Context) -> KafkaResult<Self> {
        // as any admin client; that it is no consumer lets it end at once, whatever it waits for
        let client = new_client(config, RDKafkaType::RD_KAFKA_PRODUCER, context)?;
        let events = main_queue(&client, Box::new(|| {}))?;
        Ok(Self { events, client })
    }

    /// Commits offsets, each with its metadata, and waits for the broker's word for as long as `goes_on` says so: the answer is
    /// the topics' names that the broker does not know. On any error but a broker's own, the client may still send what it was
    /// given: it has to be dropped.
    pub(in crate::kafka) fn commit(
        &self,
        group: &str,
        offsets: &TopicPartitionList,
        timeout: Duration,
        goes_on: &dyn Fn() -> bool,
    ) -> KafkaResult<BTreeSet<String>> {
        let bad = || KafkaError::AdminOp(RDKafkaErrorCode::InvalidArgument);
        let group = CString::new(group).map_err(|_| bad())?;
        let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: what is made here is destroyed here; the request copies the group and the offsets.
        let result = unsafe {
            let rk = self.client.native_ptr();
            let queue = sys::rd_kafka_queue_new(rk);
            let options = sys::rd_kafka_AdminOptions_new(rk, admin_op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
            let mut request = sys::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), offsets.ptr());
            sys::rd_kafka_AlterConsumerGroupOffsets(rk, &raw mut request, 1, options, queue);
            sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
            sys::rd_kafka_AdminOptions_destroy(options);
            let (mut left, mut event): (_, *mut sys::rd_kafka_event_t) = (timeout_ms, ptr::null_mut());
            while event.is_null() && left > 0 && goes_on() {
                event = sys::rd_kafka_queue_poll(queue, left.min(SLICE_MS));
                left -= SLICE_MS;
            }
            let result = answer(event);
            if !event.is_null() {
                sys::rd_kafka_event_destroy(event);
            }
            sys::rd_kafka_queue_destroy(queue);
            result
        };
        serve(&self.client, &self.events, 0, &mut Vec::new());
        result
    }

    /// The context, to make faults of errors.
    pub(in crate::kafka) fn context(&self) -> &Context {
        self.client.context()
    }
}

/// What the broker said: of the request, and of each partition.
///
/// # Safety
/// `event` is null, or a live result of `rd_kafka_AlterConsumerGroupOffsets`.
unsafe fn answer(event: *mut sys::rd_kafka_event_t) -> KafkaResult<BTreeSet<String>> {
    let mut unknown = BTreeSet::new();
    let failed = |error: err| Err(KafkaError::AdminOp(error.into()));
    if event.is_null() {
        return failed(err::RD_KAFKA_RESP_ERR__TIMED_OUT);
    }
    // SAFETY: all of it belongs to the event, and is looked at while that lives.
    unsafe {
        let error = sys::rd_kafka_event_error(event);
        if error != OK {
            tracing::debug!(target: "librdkafka", "commit: {}", lossy(sys::rd_kafka_event_error_string(event)));
            return failed(error);
        }
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
        if result.is_null() {
            return failed(err::RD_KAFKA_RESP_ERR__BAD_MSG);
        }
        let mut count = 0;
        let groups = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        for at in 0..count {
            let group = *groups.add(at);
            let error = sys::rd_kafka_group_result_error(group);
            if !error.is_null() {
                return failed(sys::rd_kafka_error_code(error));
            }
            let Some(list) = sys::rd_kafka_group_result_partitions(group).as_ref() else { continue };
            let elements = (0..usize::try_from(list.cnt).unwrap_or(0)).map(|at| &*list.elems.add(at));
            for element in elements {
                match element.err {
                    OK => {}
                    err::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => drop(unknown.insert(lossy(element.topic))),
                    error => return failed(error),
                }
            }
        }
    }
    Ok(unknown)
}
