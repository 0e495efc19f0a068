//! What librdkafka tells besides events: each request and its answer, on its own threads, and throttle times.
//!
//! The callbacks must not unwind into C, so they do nothing that could panic.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::NativeClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as err;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use crate::kafka::client::Context;
use crate::kafka::wire::Wire;

/// Has the client that will be made of `native` count in its context's [`Wire`], and pass throttle times to the context.
///
/// # Safety
/// The client is made with this context, which and whose `Wire` live until all of the client's threads have ended.
pub(super) unsafe fn watch(native: &NativeClientConfig, context: &Context) -> KafkaResult<()> {
    let wire = Arc::as_ptr(context.wire()).cast_mut().cast::<c_void>();
    // SAFETY: the configuration is alive; the rest is by contract.
    let added = unsafe {
        sys::rd_kafka_conf_set_throttle_cb(native.ptr(), Some(throttled));
        sys::rd_kafka_conf_interceptor_add_on_new(native.ptr(), NAME, Some(on_new), wire)
    };
    if added == OK { Ok(()) } else { Err(KafkaError::ClientCreation("its bytes can't be counted".to_owned())) }
}

const NAME: *const c_char = c"wire".as_ptr();

unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    wire: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> err {
    // SAFETY: called while the client is made, before its threads start; `wire` is that of `watch`.
    unsafe {
        match sys::rd_kafka_interceptor_add_on_request_sent(rk, NAME, Some(request_sent), wire) {
            OK => sys::rd_kafka_interceptor_add_on_response_received(rk, NAME, Some(response_received), wire),
            error => error,
        }
    }
}

unsafe extern "C" fn request_sent(
    _: *mut sys::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: i32,
    api: i16,
    _: i16,
    _: i32,
    size: usize,
    wire: *mut c_void,
) -> err {
    // SAFETY: the `Wire` of `watch` outlives the client's threads.
    unsafe { &*wire.cast::<Wire>() }.request_sent(api, size as u64);
    OK
}

unsafe extern "C" fn response_received(
    _: *mut sys::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    broker: i32,
    api: i16,
    _: i16,
    _: i32,
    size: usize,
    round_trip: i64,
    error: err,
    wire: *mut c_void,
) -> err {
    let timed_out = error == err::RD_KAFKA_RESP_ERR__TIMED_OUT;
    // SAFETY: the `Wire` of `watch` outlives the client's threads.
    let wire = unsafe { &*wire.cast::<Wire>() };
    wire.response_received(api, size as u64, timed_out);
    if let (OK, Ok(round_trip)) = (error, u64::try_from(round_trip)) {
        wire.answered(api, broker, Duration::from_micros(round_trip));
    }
    OK
}

/// Called on the thread that serves the main queue.
unsafe extern "C" fn throttled(
    _: *mut sys::rd_kafka_t,
    _: *const c_char,
    _: i32,
    throttle_ms: c_int,
    context: *mut c_void,
) {
    // SAFETY: rust-rdkafka gives each client its context as the opaque, and keeps it as long as the client.
    let context = unsafe { &*context.cast::<Context>() };
    context.throttled(Duration::from_millis(u64::try_from(throttle_ms).unwrap_or(0)));
}
