//! What a target topic takes, by its settings.

/// What a target topic may refuse a record for, as far as that can be told beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Bytes of the largest record batch that it takes (`max.message.bytes`), compressed.
    pub max_bytes: u64,
    /// Whether it is compacted, and takes no record without a key.
    pub compacted: bool,
}

impl Default for TopicLimits {
    /// Kafka's own defaults.
    fn default() -> Self {
        Self { max_bytes: 1_048_588, compacted: false }
    }
}
