//! What librdkafka knows of topics and offsets and its safe wrapper does not tell.

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as admin_op;
use sys::rd_kafka_resp_err_t as err;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use super::{bytes, lossy};
use crate::kafka::TopicIds;
use crate::kafka::client::Context;

/// The metadata text with each offset of a list, in its order. The wrapper panics where one is not UTF-8, and any tool may
/// have written it.
pub(in crate::kafka) fn metadata_of(list: &TopicPartitionList) -> Vec<Vec<u8>> {
    // SAFETY: the list is alive, has `cnt` elements, and each owns its metadata.
    unsafe {
        let Some(list) = list.ptr().as_ref() else { return Vec::new() };
        let count = usize::try_from(list.cnt).unwrap_or(0);
        let elements = (0..count).map(|at| &*list.elems.add(at));
        elements.map(|one| bytes(one.metadata, one.metadata_size).unwrap_or_default().to_vec()).collect()
    }
}

/// The id of the cluster's controller, as the last answer with metadata told it; negative where none has.
pub(in crate::kafka) fn controller(client: &Client<Context>) -> i32 {
    // SAFETY: the client is alive. No time: nothing is asked.
    unsafe { sys::rd_kafka_controllerid(client.native_ptr(), 0) }
}

/// The ids of topics, by name, as base64 text; `None` where the cluster tells none. Topics that are not there are left out.
pub(in crate::kafka) fn topic_ids(
    client: &Client<Context>,
    topics: &[&str],
    timeout: Duration,
) -> KafkaResult<TopicIds> {
    let timed_out = || KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut);
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: what is made here is destroyed here; the names live until the request is made, which copies them.
    unsafe {
        let rk = client.native_ptr();
        let queue = sys::rd_kafka_queue_new(rk);
        let options = sys::rd_kafka_AdminOptions_new(rk, admin_op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        sys::rd_kafka_DescribeTopics(rk, collection, options, queue);
        sys::rd_kafka_TopicCollection_destroy(collection);
        sys::rd_kafka_AdminOptions_destroy(options);
        // the request ends by itself, a little later than its own time
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000));
        sys::rd_kafka_queue_destroy(queue);
        if event.is_null() {
            return Err(timed_out());
        }
        let error = sys::rd_kafka_event_error(event);
        let ids = if error == OK { Ok(ids_of(event)) } else { Err(KafkaError::AdminOp(error.into())) };
        sys::rd_kafka_event_destroy(event);
        ids
    }
}

/// # Safety
/// `event` is a live result of `rd_kafka_DescribeTopics`.
unsafe fn ids_of(event: *mut sys::rd_kafka_event_t) -> TopicIds {
    /// The id of all zeros is none.
    const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    let mut ids = TopicIds::new();
    // SAFETY: all of it belongs to the event, and is looked at while that lives.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return ids;
        }
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for at in 0..count {
            let topic = *topics.add(at);
            let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
            if matches!(error, err::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | err::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
                continue;
            }
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let id = if error == OK && !id.is_null() { lossy(sys::rd_kafka_Uuid_base64str(id)) } else { String::new() };
            let id = Some(id).filter(|id| !id.is_empty() && id != NONE);
            ids.insert(lossy(sys::rd_kafka_TopicDescription_name(topic)), id);
        }
    }
    ids
}
