//! From librdkafka's and the broker's error codes to fault classes: one table.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::domain::fault::FaultClass;

/// What an error code asks for. Codes that are not listed are worth trying again; so is an unknown topic or partition,
/// which may be so young that not every broker knows it yet.
pub(super) fn class_of(code: RDKafkaErrorCode) -> FaultClass {
    use RDKafkaErrorCode as E;
    match code {
        E::MessageSizeTooLarge
        | E::InvalidMessage
        | E::InvalidMessageSize
        | E::InvalidRecord
        | E::InvalidTimestamp
        | E::MessageBatchTooLarge
        | E::BadMessage => FaultClass::Record,
        E::ThrottlingQuotaExceeded | E::QueueFull => FaultClass::Overrun,
        E::Authentication
        | E::SaslAuthenticationFailed
        | E::UnsupportedSASLMechanism
        | E::TopicAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::InvalidTopic
        | E::SSL
        | E::PolicyViolation
        | E::OffsetOutOfRange
        | E::AutoOffsetReset => FaultClass::Config,
        _ => FaultClass::System,
    }
}

/// The code inside an error of rust-rdkafka.
pub(super) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

/// The class of an error of rust-rdkafka.
pub(super) fn class_of_error(error: &KafkaError) -> FaultClass {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => FaultClass::Config,
        other => code_of(other).map_or(FaultClass::System, class_of),
    }
}
