//! Why batches were not passed on as they are, and how many.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a batch of the source was not passed on as it is: opened and made anew, or, where it was aborted, left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It was read from its middle on.
    Resumed,
    /// Compaction has left some of its records only.
    Thinned,
    /// Its records are stamped with the time at which the broker wrote them.
    AppendTime,
    /// It is so small that a request of its own would cost more.
    Small,
    /// It is larger than the target topic takes.
    TooLarge,
    /// Its records belong to several partitions.
    Spread,
    /// Only some of its records are to be written.
    Cut,
    /// It belongs to a transaction that came to nothing.
    Aborted,
    /// It was no batch yet: messages of the formats before Kafka 0.11.
    OldFormat,
}

impl Fallback {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Resumed,
        Self::Thinned,
        Self::AppendTime,
        Self::Small,
        Self::TooLarge,
        Self::Spread,
        Self::Cut,
        Self::Aborted,
        Self::OldFormat,
    ];

    /// Its name, as metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::Thinned => "thinned",
            Self::AppendTime => "append_time",
            Self::Small => "small",
            Self::TooLarge => "too_large",
            Self::Spread => "spread",
            Self::Cut => "cut",
            Self::Aborted => "aborted",
            Self::OldFormat => "old_format",
        }
    }
}

/// How many batches there were for each reason.
#[derive(Debug, Default)]
pub struct Fallbacks([AtomicU64; Fallback::ALL.len()]);

impl Fallbacks {
    /// One more.
    pub fn count(&self, why: Fallback) {
        self.0[why as usize].fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn of(&self, why: Fallback) -> u64 {
        self.0[why as usize].load(Relaxed)
    }
}

impl fmt::Display for Fallbacks {
    /// Those that there were, such as `small 12, aborted 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = Fallback::ALL.into_iter().map(|why| (why, self.of(why))).filter(|(_, count)| *count > 0);
        for (at, (why, count)) in some.enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{} {count}", why.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let fallbacks = Fallbacks::default();
        assert_eq!(fallbacks.to_string(), "");
        for (times, why) in Fallback::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| fallbacks.count(why));
        }
        for (times, why) in (0..).zip(Fallback::ALL) {
            assert_eq!(fallbacks.of(why), times);
        }
        assert!(fallbacks.to_string().starts_with("thinned 1, append_time 2, "));
    }
}
