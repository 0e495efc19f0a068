//! What each code asks for, written down a second time: by class, with what has to happen next. One test each.

use super::*;
use crate::kafka::ffi::known_codes;

/// The class of a code by librdkafka's name for it.
fn class_named(name: &str) -> FaultClass {
    let known = known_codes();
    let (code, _) = known.iter().find(|(_, known)| known == name).unwrap_or_else(|| panic!("there is no {name}"));
    class_of(*code)
}

/// A test for each code; librdkafka's name for it is the test's in capitals. Its own codes begin with an underscore.
macro_rules! asks_for {
    ($($class:ident { $($code:ident: $next:literal,)* })*) => {
        $($(
            #[test]
            fn $code() {
                assert_eq!(class_named(&stringify!($code).to_uppercase()), $class, $next);
            }
        )*)*

        const WRITTEN_DOWN: &[&str] = &[$($(stringify!($code),)*)*];
    };
}

asks_for! {
    Record {
        _invalid_different_record: "another record of the request is invalid",
        invalid_msg: "the record has no key and the topic is compacted",
        invalid_msg_size: "the record's size is not accepted",
        msg_size_too_large: "the record is larger than the topic takes",
        record_list_too_large: "more than a segment holds",
        invalid_timestamp: "the record is older or newer than the topic takes",
        invalid_record: "the broker's validation refused the record",
    }
    Overrun {
        _queue_full: "the client has more than it can send: slow down",
        throttling_quota_exceeded: "a quota for changes, such as new topics: slow down",
    }
    System {
        _bad_msg: "an answer arrived damaged: ask again",
        _bad_compression: "a batch arrived damaged: fetch it again",
        _destroy: "the client is being closed: a new one goes on",
        _fail: "the broker was not understood: ask again",
        _transport: "the connection is lost: it is made again",
        _crit_sys_resource: "memory or threads are short: later there may be some",
        _resolve: "a name server may answer later",
        _msg_timed_out: "nobody knows whether it is written: write it again",
        _partition_eof: "the end of a partition: more comes later",
        _unknown_partition: "the topic has just grown",
        _all_brokers_down: "brokers come back",
        _timed_out: "no answer in time: ask again",
        _isr_insuff: "replicas come back",
        _node_update: "a broker has moved: it is found again",
        _wait_coord: "the coordinator is being looked for",
        _in_progress: "the same is under way: ask later",
        _prev_in_progress: "the one before is under way: ask later",
        _no_offset: "there is nothing to commit yet",
        _outdated: "the world has moved on: ask again",
        _timed_out_queue: "it was not even sent in time: ask again",
        _wait_cache: "metadata is being asked for",
        _intr: "the call was cut short: call again",
        _partial: "half an answer: ask again",
        _underflow: "an answer was cut short: ask again",
        _retry: "it says so itself",
        _purge_queue: "given up before it was sent: a new writer writes it",
        _purge_inflight: "given up on its way: a new writer writes it",
        _fatal: "this producer is done for: a new writer",
        _inconsistent: "this producer is done for: a new writer",
        _gapless_guarantee: "this producer is done for: a new writer",
        _unknown_broker: "the broker is gone, another one leads",
        _fenced: "another one has this identity: a new writer has its own",
        _noop: "nothing was done: do it later",
        _destroy_broker: "the broker left the cluster, another one leads",
        unknown: "the broker had an accident",
        unknown_topic_or_part: "the topic is young",
        leader_not_available: "a leader is being elected",
        not_leader_for_partition: "another broker leads",
        request_timed_out: "replicas were too slow: again",
        broker_not_available: "brokers come back",
        replica_not_available: "replicas come back",
        stale_ctrl_epoch: "the controller is changing",
        network_exception: "the connection is lost: it is made again",
        coordinator_load_in_progress: "the coordinator is starting",
        coordinator_not_available: "the coordinator comes back",
        not_coordinator: "another broker coordinates",
        not_enough_replicas: "replicas come back",
        not_enough_replicas_after_append: "replicas come back, and it is written again",
        rebalance_in_progress: "it passes",
        topic_already_exists: "somebody else created it: look again",
        invalid_partitions: "somebody else grew it: look again",
        not_controller: "the controller has changed",
        out_of_order_sequence_number: "this producer is done for: a new writer",
        duplicate_sequence_number: "this producer is done for: a new writer",
        invalid_producer_epoch: "this producer is done for: a new writer",
        invalid_producer_id_mapping: "this producer is done for: a new writer",
        operation_not_attempted: "something else of the request failed: again",
        kafka_storage_error: "the broker's disk: another one may lead",
        unknown_producer_id: "the broker forgot this producer: a new writer",
        reassignment_in_progress: "partitions are being moved: later",
        group_id_not_found: "a commit makes it",
        fetch_session_id_not_found: "the fetch begins anew",
        invalid_fetch_session_epoch: "the fetch begins anew",
        listener_not_found: "the new leader is starting",
        fenced_leader_epoch: "a new leader: metadata is asked for",
        unknown_leader_epoch: "the broker is behind: ask again",
        stale_broker_epoch: "the broker has just started anew",
        offset_not_available: "the new leader is catching up",
        preferred_leader_not_available: "it comes back",
        eligible_leaders_not_available: "replicas come back",
        unstable_offset_commit: "a transaction has to end first",
        producer_fenced: "another one has this identity: a new writer has its own",
        resource_not_found: "it is young",
        inconsistent_voter_set: "brokers disagree: that passes",
        invalid_update_version: "brokers disagree: that passes",
        feature_update_failed: "brokers disagree: that passes",
        unknown_topic_id: "the topic is young: metadata is asked for",
        unknown_subscription_id: "telemetry of the library: it subscribes again",
        telemetry_too_large: "telemetry of the library: it goes without",
        rebootstrap_required: "the client starts from its addresses again",
    }
    Config {
        _fs: "a file on this machine can't be used: somebody has to mend that",
        _unknown_topic: "the topic is not there: somebody has to create it",
        _ssl: "certificates do not fit: somebody has to change them",
        _not_implemented: "this build can't do it: another one has to be used",
        _authentication: "the password is wrong",
        _unsupported_feature: "the broker is too old",
        _auto_offset_reset: "a gap: somebody has to decide",
        _log_truncation: "the source forgot what was read: somebody has to decide",
        offset_out_of_range: "a gap: somebody has to decide",
        topic_exception: "the topic's name is not allowed",
        illegal_generation: "somebody else consumes with our group",
        invalid_group_id: "the group's name is not allowed",
        unknown_member_id: "somebody else consumes with our group",
        topic_authorization_failed: "we may not use the topic",
        group_authorization_failed: "we may not use the group",
        cluster_authorization_failed: "we may not write idempotently, or create topics",
        unsupported_sasl_mechanism: "another mechanism has to be chosen",
        illegal_sasl_state: "the listener and security.protocol do not fit",
        unsupported_version: "the broker is too old",
        invalid_replication_factor: "the cluster has fewer brokers than its default asks for",
        invalid_config: "the source's settings do not suit the target",
        invalid_request: "broker and client do not fit",
        unsupported_for_message_format: "the topic's message format is too old",
        policy_violation: "somebody forbade that",
        transactional_id_authorization_failed: "we may not do that",
        security_disabled: "the broker knows no security",
        log_dir_not_found: "the broker's folders have to be mended",
        sasl_authentication_failed: "the password is wrong",
        delegation_token_auth_disabled: "the way to authenticate has to be changed",
        delegation_token_not_found: "a new token has to be made",
        delegation_token_owner_mismatch: "another token has to be used",
        delegation_token_request_not_allowed: "the way to authenticate has to be changed",
        delegation_token_authorization_failed: "we may not do that",
        delegation_token_expired: "a new token has to be made",
        invalid_principal_type: "the way to authenticate has to be changed",
        non_empty_group: "somebody else consumes with our group",
        unsupported_compression_type: "another codec has to be chosen",
        unacceptable_credential: "other credentials have to be used",
        principal_deserialization_failure: "the brokers' security has to be mended",
        fenced_member_epoch: "somebody else consumes with our group",
        stale_member_epoch: "somebody else consumes with our group",
    }
    Crash {
        _invalid_arg: "we called the library wrongly",
        _unknown_group: "we forgot to name the group",
        _existing_subscription: "we do not subscribe",
        _assign_partitions: "we are no member of a group",
        _revoke_partitions: "we are no member of a group",
        _conflict: "we mixed two ways to use a client",
        _state: "we called at the wrong time",
        _unknown_protocol: "we are no member of a group",
        _key_serialization: "we hand bytes over as they are",
        _value_serialization: "we hand bytes over as they are",
        _key_deserialization: "we take bytes as they are",
        _value_deserialization: "we take bytes as they are",
        _read_only: "we changed what is not ours",
        _noent: "we asked the library for something that it never had",
        _invalid_type: "we asked for a value as another type",
        _max_poll_exceeded: "something of ours hangs",
        _not_configured: "we use what we did not switch on",
        _application: "nobody makes it",
        _assignment_lost: "we are no member of a group",
        no_error: "we took a success for a fault",
        offset_metadata_too_large: "we commit without metadata",
        invalid_required_acks: "we ask for acks that there are not",
        inconsistent_group_protocol: "we are no member of a group",
        invalid_session_timeout: "we are no member of a group",
        invalid_commit_offset_size: "we made a commit that is none",
        invalid_replica_assignment: "we assign no replicas",
        invalid_txn_state: "we have no transactions",
        invalid_transaction_timeout: "we have no transactions",
        concurrent_transactions: "we have no transactions",
        transaction_coordinator_fenced: "we have no transactions",
        topic_deletion_disabled: "we delete no topic",
        member_id_required: "we are no member of a group",
        group_max_size_reached: "we are no member of a group",
        fenced_instance_id: "we are no member of a group",
        election_not_needed: "we elect nobody",
        no_reassignment_in_progress: "we move no partition",
        group_subscribed_to_topic: "we delete no offset",
        duplicate_resource: "we asked for one thing twice in a request",
        unreleased_instance_id: "we are no member of a group",
        unsupported_assignor: "we are no member of a group",
    }
}

#[test]
fn every_code_that_the_library_knows_has_one_row_and_one_test() {
    assert!(TABLE.is_sorted_by(|(one, _), (other, _)| (*one as i32) < (*other as i32)), "sorted, and nothing twice");
    let known = known_codes();
    assert!(known.len() > 150, "{}", known.len());
    for (code, name) in &known {
        assert!(TABLE.iter().any(|(row, _)| row == code), "{name} is not in the table");
        assert!(WRITTEN_DOWN.contains(&name.to_lowercase().as_str()), "{name} has no test");
    }
    assert_eq!((TABLE.len(), WRITTEN_DOWN.len()), (known.len(), known.len()));
}

#[test]
fn what_the_library_does_not_know_is_worth_trying_again() {
    assert_eq!((class_of(E::Begin), class_of(E::EndAll)), (System, System));
}

#[test]
fn errors_are_what_their_codes_are() {
    let timed_out = KafkaError::MetadataFetch(E::OperationTimedOut);
    assert_eq!((class_of_error(&timed_out), code_of(&timed_out)), (System, Some(E::OperationTimedOut)));
    assert_eq!(class_of_error(&KafkaError::AdminOp(E::ClusterAuthorizationFailed)), Config);
    assert_eq!(class_of_error(&KafkaError::AdminOpCreation(String::new())), Config);
    assert_eq!(class_of_error(&KafkaError::ClientCreation(String::new())), Config);
    assert_eq!(class_of_error(&KafkaError::Canceled), System);
}
