//! The words by which dead letters and envelopes are known: those who write them and those who read them agree on these.

/// Headers of a dead letter, after the record's own, in this order.
pub const SOURCE_CLUSTER: &str = "anabranch.source.cluster";
/// The source topic.
pub const SOURCE_TOPIC: &str = "anabranch.source.topic";
/// The source partition, as decimal text.
pub const SOURCE_PARTITION: &str = "anabranch.source.partition";
/// The source offset, as decimal text.
pub const SOURCE_OFFSET: &str = "anabranch.source.offset";
/// The source timestamp in milliseconds, as decimal text.
pub const SOURCE_TIMESTAMP: &str = "anabranch.source.timestamp";
/// The class of the fault.
pub const CLASS: &str = "anabranch.class";
/// What the target said.
pub const ERROR: &str = "anabranch.error";
/// How often it was tried, as decimal text.
pub const ATTEMPTS: &str = "anabranch.attempts";
/// The route's name.
pub const ROUTE: &str = "anabranch.route";
/// The target's name.
pub const TARGET: &str = "anabranch.target";

/// What an envelope says under the key `anabranch`.
pub const KEPT: &str = "kept";
/// How the JSON of an envelope begins: keys are sorted.
pub const ENVELOPE_BEGINS: &str = r#"{"anabranch":"kept","#;
