//! From librdkafka's and the broker's error codes to fault classes: one table.
//!
//! What decides is what has to happen next. `Record`: these records need care, and others can be written. `Overrun`: slower.
//! `System`: the same again later, with a new client where this one is done for. `Config`: nothing, until somebody changes
//! something. `Crash`: whatever we did was wrong, or answers a question that nothing here asks; a new generation does it afresh.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as E};

use crate::domain::fault::FaultClass::{self, Config, Crash, Overrun, Record, System};

#[cfg(test)]
mod tests;

/// Every code that librdkafka knows, its own (they are said without a broker) before the brokers'; in the order of their
/// numbers, by which they are looked up.
const TABLE: &[(E, FaultClass)] = &[
    (E::BadMessage, System), // an answer or a batch arrived damaged; not a word about a record that we wrote
    (E::BadCompression, System), // the same, seen when it is opened
    (E::BrokerDestroy, System),
    (E::Fail, System),
    (E::BrokerTransportFailure, System),
    (E::CriticalSystemResource, System),
    (E::Resolve, System), // name servers fail as brokers do, and a typo can't be told from that
    (E::MessageTimedOut, System), // it may be written: a new writer starts from the watermark
    (E::PartitionEOF, System), // no fault: there is more later
    (E::UnknownPartition, System), // said without waiting, so also of a topic that has just grown
    (E::FileSystem, Config),
    (E::UnknownTopic, Config), // said after `topic.metadata.propagation.max.ms`: it is not young, it is not there
    (E::AllBrokersDown, System),
    (E::InvalidArgument, Crash),
    (E::OperationTimedOut, System),
    (E::QueueFull, Overrun),
    (E::ISRInsufficient, System),
    (E::NodeUpdate, System),
    (E::SSL, Config),
    (E::WaitingForCoordinator, System),
    (E::UnknownGroup, Crash), // said of a client that was made without a group
    (E::InProgress, System),
    (E::PreviousInProgress, System),
    (E::ExistingSubscription, Crash), // nothing here subscribes
    (E::AssignPartitions, Crash),     // nothing here is a member of a group
    (E::RevokePartitions, Crash),     // the same
    (E::Conflict, Crash),
    (E::State, Crash),
    (E::UnknownProtocol, Crash), // of a group's members
    (E::NotImplemented, Config), // such as a codec that this build lacks
    (E::Authentication, Config),
    (E::NoOffset, System),
    (E::Outdated, System),
    (E::TimedOutQueue, System),
    (E::UnsupportedFeature, Config),
    (E::WaitCache, System),
    (E::Interrupted, System),
    (E::KeySerialization, Crash),     // nothing here has serializers
    (E::ValueSerialization, Crash),   // the same
    (E::KeyDeserialization, Crash),   // the same
    (E::ValueDeserialization, Crash), // the same
    (E::Partial, System),
    (E::ReadOnly, Crash),
    (E::NoEnt, Crash),
    (E::Underflow, System), // an answer that ends too early
    (E::InvalidType, Crash),
    (E::Retry, System),
    (E::PurgeQueue, System), // given up by a writer that closes; the next one starts from the watermark
    (E::PurgeInflight, System), // the same
    (E::Fatal, System), // a producer lost its order and is done for: a new generation is made, and starts from the watermark
    (E::Inconsistent, System), // the same
    (E::GaplessGuarantee, System), // the same
    (E::PollExceeded, Crash), // nobody served the client: something here hangs
    (E::UnknownBroker, System),
    (E::NotConfigured, Crash),
    (E::Fenced, System),        // a new producer has an identity of its own
    (E::Application, Crash),    // only applications make it, and this one does not
    (E::AssignmentLost, Crash), // of a group's members
    (E::Noop, System),
    (E::AutoOffsetReset, Config),        // a gap; `auto.offset.reset` is `error`
    (E::LogTruncation, Config),          // a gap of another kind: what was read is not there any more
    (E::InvalidDifferentRecord, Record), // innocent, as halving will show
    (E::DestroyBroker, System),
    (E::Unknown, System),
    (E::NoError, Crash),
    (E::OffsetOutOfRange, Config),        // a gap
    (E::InvalidMessage, Record),          // also a record without a key for a compacted topic
    (E::UnknownTopicOrPartition, System), // perhaps so young that not every broker knows it
    (E::InvalidMessageSize, Record),
    (E::LeaderNotAvailable, System),
    (E::NotLeaderForPartition, System),
    (E::RequestTimedOut, System),
    (E::BrokerNotAvailable, System),
    (E::ReplicaNotAvailable, System),
    (E::MessageSizeTooLarge, Record),
    (E::StaleControllerEpoch, System),
    (E::OffsetMetadataTooLarge, Crash), // our commits have none
    (E::NetworkException, System),
    (E::CoordinatorLoadInProgress, System),
    (E::CoordinatorNotAvailable, System),
    (E::NotCoordinator, System),
    (E::InvalidTopic, Config),
    (E::MessageBatchTooLarge, Record),
    (E::NotEnoughReplicas, System),
    (E::NotEnoughReplicasAfterAppend, System),
    (E::InvalidRequiredAcks, Crash),       // the engine owns `acks`
    (E::IllegalGeneration, Config),        // our groups have no members: somebody consumes with the group of a target
    (E::InconsistentGroupProtocol, Crash), // of a group's members
    (E::InvalidGroupId, Config),           // it has the route's name in it
    (E::UnknownMemberId, Config),          // somebody consumes with the group of a target
    (E::InvalidSessionTimeout, Crash),     // of a group's members
    (E::RebalanceInProgress, System),      // passes, and shows then whose group it is
    (E::InvalidCommitOffsetSize, Crash),
    (E::TopicAuthorizationFailed, Config),
    (E::GroupAuthorizationFailed, Config),
    (E::ClusterAuthorizationFailed, Config),
    (E::InvalidTimestamp, Record),
    (E::UnsupportedSASLMechanism, Config),
    (E::IllegalSASLState, Config), // the listener speaks another protocol
    (E::UnsupportedVersion, Config),
    (E::TopicAlreadyExists, System),       // somebody was faster: the next look finds it
    (E::InvalidPartitions, System),        // the same, for growing
    (E::InvalidReplicationFactor, Config), // of the cluster's own default
    (E::InvalidReplicaAssignment, Crash),  // we assign none
    (E::InvalidConfig, Config),
    (E::NotController, System),
    (E::InvalidRequest, Config), // the library made it for another kind of broker
    (E::UnsupportedForMessageFormat, Config),
    (E::PolicyViolation, Config), // when creating; proxies say it when writing, of a topic or a client and not of a record
    (E::OutOfOrderSequenceNumber, System), // a new writer is needed, as for `Fatal`
    (E::DuplicateSequenceNumber, System), // the library takes it for a success; if it does not, as above
    (E::InvalidProducerEpoch, System), // as above
    (E::InvalidTransactionalState, Crash), // nothing here begins a transaction
    (E::InvalidProducerIdMapping, System), // a new writer is needed
    (E::InvalidTransactionTimeout, Crash), // nothing here begins a transaction
    (E::ConcurrentTransactions, Crash), // the same
    (E::TransactionCoordinatorFenced, Crash), // the same
    (E::TransactionalIdAuthorizationFailed, Config),
    (E::SecurityDisabled, Config),
    (E::OperationNotAttempted, System),
    (E::KafkaStorageError, System),
    (E::LogDirNotFound, Config),
    (E::SaslAuthenticationFailed, Config),
    (E::UnknownProducerId, System), // forgotten after a long rest: a new writer is needed
    (E::ReassignmentInProgress, System),
    (E::DelegationTokenAuthDisabled, Config),
    (E::DelegationTokenNotFound, Config),
    (E::DelegationTokenOwnerMismatch, Config),
    (E::DelegationTokenRequestNotAllowed, Config),
    (E::DelegationTokenAuthorizationFailed, Config),
    (E::DelegationTokenExpired, Config),
    (E::InvalidPrincipalType, Config),
    (E::NonEmptyGroup, Config),   // somebody consumes with the group of a target
    (E::GroupIdNotFound, System), // a commit makes it
    (E::FetchSessionIdNotFound, System),
    (E::InvalidFetchSessionEpoch, System),
    (E::ListenerNotFound, System),     // of a leader that is starting
    (E::TopicDeletionDisabled, Crash), // nothing here deletes topics
    (E::FencedLeaderEpoch, System),
    (E::UnknownLeaderEpoch, System),
    (E::UnsupportedCompressionType, Config),
    (E::StaleBrokerEpoch, System),
    (E::OffsetNotAvailable, System),
    (E::MemberIdRequired, Crash), // of a group's members
    (E::PreferredLeaderNotAvailable, System),
    (E::GroupMaxSizeReached, Crash), // of a group's members
    (E::FencedInstanceId, Crash),    // the same
    (E::EligibleLeadersNotAvailable, System),
    (E::ElectionNotNeeded, Crash),        // nothing here elects leaders
    (E::NoReassignmentInProgress, Crash), // or moves partitions
    (E::GroupSubscribedToTopic, Crash),   // or deletes offsets
    (E::InvalidRecord, Record),
    (E::UnstableOffsetCommit, System),
    (E::ThrottlingQuotaExceeded, Overrun),
    (E::ProducerFenced, System),   // a new producer has an identity of its own
    (E::ResourceNotFound, System), // perhaps young, as a topic
    (E::DuplicateResource, Crash),
    (E::UnacceptableCredential, Config),
    (E::InconsistentVoterSet, System), // between brokers, as the next two
    (E::InvalidUpdateVersion, System),
    (E::FeatureUpdateFailed, System),
    (E::PrincipalDeserializationFailure, Config), // the brokers' own security does not fit together
    (E::UnknownTopicId, System),                  // of a topic that is young, or was made anew
    (E::FencedMemberEpoch, Config),               // somebody consumes with the group of a target
    (E::UnreleasedInstanceId, Crash),             // of a group's members
    (E::UnsupportedAssignor, Crash),              // the same
    (E::StaleMemberEpoch, Config),                // somebody consumes with the group of a target
    (E::UnknownSubscriptionId, System),           // of the library's own telemetry, as the next
    (E::TelemetryTooLarge, System),
    (E::RebootstrapRequired, System),
];

/// What an error code asks for. A code that the linked library does not know is worth trying again.
pub(super) fn class_of(code: E) -> FaultClass {
    TABLE.binary_search_by_key(&(code as i32), |(known, _)| *known as i32).map_or(System, |at| TABLE[at].1)
}

/// The code that a broker knows by this number.
pub(super) fn code_of_number(number: i16) -> Option<E> {
    TABLE.binary_search_by_key(&i32::from(number), |(known, _)| *known as i32).ok().map(|at| TABLE[at].0)
}

/// What a code asks for, by its number.
pub(super) fn class_of_number(number: i16) -> FaultClass {
    code_of_number(number).map_or(System, class_of)
}

/// The code inside an error of rust-rdkafka.
pub(super) fn code_of(error: &KafkaError) -> Option<E> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The class of an error of rust-rdkafka.
pub(super) fn class_of_error(error: &KafkaError) -> FaultClass {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::AdminOpCreation(_) => Config,
        other => code_of(other).map_or(System, class_of),
    }
}
