//! From a source topic to a target topic: its name, and the partition of each record.

use std::fmt;

/// Which target partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Partitioning {
    /// The partition it had in the source.
    #[default]
    Keep,
    /// By the key's murmur2 hash, as Java's default partitioner places it. A record without a key keeps its source
    /// partition, modulo the target's partitions: that spreads them and keeps their order.
    ByKey,
}

impl Partitioning {
    /// The target partition of a record with this key, out of `partitions` (at least 1).
    pub fn place(self, source_partition: i32, key: Option<&[u8]>, partitions: i32) -> i32 {
        match (self, key) {
            (Self::Keep, _) => source_partition,
            (Self::ByKey, None) => source_partition % partitions,
            (Self::ByKey, Some(key)) => positive(murmur2(key)) % partitions,
        }
    }
}

/// A target topic's name with `{topic}` standing for the source topic's, such as `gz.{topic}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(String);

/// Why a template or the name that it makes is not a topic's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTopicName(pub String);

impl fmt::Display for BadTopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTopicName {}

const PLACEHOLDER: &str = "{topic}";
/// Kafka's own limit for a topic's name.
const MAX_TOPIC_NAME: usize = 249;

impl TopicTemplate {
    /// The template that keeps the source topic's name.
    pub fn same() -> Self {
        Self(PLACEHOLDER.to_owned())
    }

    /// The template of the topic for dead letters: `{topic}.dead-letter`.
    pub fn dead_letter() -> Self {
        Self(format!("{PLACEHOLDER}.dead-letter"))
    }

    /// Checks a template: `{topic}` is the only placeholder, and what stands around it may stand in a topic's name.
    pub fn parse(text: &str) -> Result<Self, BadTopicName> {
        if text.is_empty() {
            return Err(BadTopicName("a topic name is empty: leave the key out to keep the source's name".to_owned()));
        }
        let around = text.replace(PLACEHOLDER, "");
        if around.contains(['{', '}']) {
            return Err(BadTopicName(format!("`{text}` has a placeholder other than {{topic}}")));
        }
        if let Some(bad) = around.chars().find(|c| !is_topic_char(*c)) {
            return Err(BadTopicName(format!(
                "`{text}` has {bad:?}: a topic's name takes letters, digits, '.', '_' and '-'"
            )));
        }
        if around.len() > MAX_TOPIC_NAME {
            return Err(BadTopicName(format!("`{text}` is longer than Kafka's limit of {MAX_TOPIC_NAME} characters")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The target topic's name for a source topic.
    pub fn apply(&self, source_topic: &str) -> Result<String, BadTopicName> {
        let name = self.0.replace(PLACEHOLDER, source_topic);
        if name.len() > MAX_TOPIC_NAME {
            return Err(BadTopicName(format!(
                "the target topic's name `{name}` is longer than {MAX_TOPIC_NAME} characters"
            )));
        }
        if name == "." || name == ".." {
            return Err(BadTopicName(format!("`{name}` is not a name that Kafka allows for a topic")));
        }
        Ok(name)
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_topic_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Topics that Kafka or its ecosystem keeps for itself: they are never copied.
pub fn is_internal_topic(name: &str) -> bool {
    name.starts_with("__") || matches!(name, "_schemas" | "connect-configs" | "connect-offsets" | "connect-status")
}

/// Java's `Utils.toPositive`: the sign bit is cut off, not the number negated.
fn positive(hash: i32) -> i32 {
    hash & i32::MAX
}

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`): 32 bits, little endian, its fixed seed.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    #[allow(clippy::cast_possible_truncation)] // a record's key is shorter than 2 GiB
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    for (at, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn templates_rename_and_refuse() {
        assert_eq!(TopicTemplate::parse("gz.{topic}").unwrap().apply("orders").unwrap(), "gz.orders");
        assert!(TopicTemplate::parse("gz.{name}").is_err());
        assert!(TopicTemplate::parse("gz/{topic}").is_err());
        assert!(TopicTemplate::parse("").is_err());
        assert!(TopicTemplate::parse("x.{topic}").unwrap().apply(&"a".repeat(249)).is_err());
    }

    #[test]
    fn records_without_a_key_keep_their_order() {
        assert_eq!(Partitioning::ByKey.place(7, None, 4), 3);
        assert_eq!(Partitioning::Keep.place(7, Some(b"k"), 8), 7);
    }
}
