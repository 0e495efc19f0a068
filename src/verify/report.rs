//! What a comparison is told as: for programs, and as a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indicatif::HumanBytes;
use serde::Serialize;

use super::outcome::LISTED;

/// The kinds of differences, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The target does not have it.
    Missing,
    /// The target has it once more.
    Duplicated,
    /// The target has it, not in the source's order.
    Reordered,
    /// The target has another one in its place.
    Altered,
    /// Only the target has it.
    Extra,
    /// The target has it in a partition where it does not belong.
    Misplaced,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::Duplicated, Self::Reordered, Self::Altered, Self::Extra, Self::Misplaced];

    /// The name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Altered => "altered",
            Self::Extra => "extra",
            Self::Misplaced => "misplaced",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is different.
    pub kind: Kind,
    /// Where the record is at the source: `topic/partition@offset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it is on the target; of an altered dead letter, where that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<&'static str>,
}

/// What was compared of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// `topic/partition`.
    pub partition: String,
    /// The first offset.
    pub from: i64,
    /// One past the last.
    pub to: i64,
}

/// One target topic.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TopicReport {
    /// The target's name.
    pub target: String,
    /// The source topics.
    pub source_topics: Vec<String>,
    /// The target topic.
    pub target_topic: String,
    /// The source offsets that were compared, up to the watermark.
    pub source_ranges: Vec<Range>,
    /// The target offsets that were read.
    pub target_ranges: Vec<Range>,
    /// Source records that were compared.
    pub source_records: u64,
    /// Target records that were read.
    pub target_records: u64,
    /// Source records that the target has.
    pub matched: u64,
    /// How many differences there are, by kind.
    pub differences: BTreeMap<&'static str, u64>,
    /// What is on one side only, and rightly so, by reason.
    pub explained: BTreeMap<&'static str, u64>,
    /// The sum of the 128-bit fingerprints of the source's records; equal to the target's where the same records are there.
    pub source_digest: String,
    /// The same of the target's, each record once.
    pub target_digest: String,
    /// Bytes of keys, values and headers that were read at the source.
    pub source_bytes: u64,
    /// The same on the target.
    pub target_bytes: u64,
    /// The first differences of each kind.
    pub listed: Vec<Difference>,
}

impl TopicReport {
    /// Counts differences of a kind.
    pub(super) fn count(&mut self, kind: Kind, count: u64) {
        *self.differences.entry(kind.name()).or_default() += count;
    }

    /// Takes back what is looked at one by one.
    pub(super) fn subtract(&mut self, kind: Kind, count: u64) {
        if let Some(counted) = self.differences.get_mut(kind.name()) {
            *counted = counted.saturating_sub(count);
        }
    }

    /// Counts a difference, and lists it where there is still room.
    pub(super) fn add(&mut self, difference: Difference) {
        self.count(difference.kind, 1);
        self.list(difference);
    }

    /// Counts records that are rightly on one side only.
    pub(super) fn explain(&mut self, reason: &'static str, count: u64) {
        if count > 0 {
            *self.explained.entry(reason).or_default() += count;
        }
    }

    /// Lists a difference, where there is still room.
    pub(super) fn list(&mut self, difference: Difference) {
        if self.listed.iter().filter(|listed| listed.kind == difference.kind).count() < LISTED {
            self.listed.push(difference);
        }
    }

    fn of(&self, kind: Kind) -> u64 {
        self.differences.get(kind.name()).copied().unwrap_or(0)
    }
}

/// The whole report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The route.
    pub route: String,
    /// The source cluster.
    pub source: String,
    /// Whether there is a difference that counts.
    pub different: bool,
    /// Whether duplicates are allowed.
    pub duplicates_allowed: bool,
    /// What has to be known to read it.
    pub remarks: Vec<String>,
    /// Each target topic.
    pub topics: Vec<TopicReport>,
    /// How long it took.
    pub seconds: f64,
    /// The most memory that was in use, in bytes.
    pub peak_memory_bytes: u64,
}

impl Report {
    /// Whether there is a difference; duplicates are one, unless they are allowed.
    pub(super) fn judge(&mut self) {
        let counts = |kind: &Kind| *kind != Kind::Duplicated || !self.duplicates_allowed;
        let found = |topic: &TopicReport| Kind::ALL.iter().filter(|kind| counts(kind)).any(|kind| topic.of(*kind) > 0);
        self.different = self.topics.iter().any(found);
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let mut text = format!("route {} from {}\n", self.route, self.source);
        for remark in &self.remarks {
            let _ = writeln!(text, "  {remark}");
        }
        if self.topics.is_empty() {
            let _ = writeln!(text, "  nothing to compare: no topic of {} is selected", self.source);
        }
        let name = |topic: &TopicReport| format!("{}/{}", topic.target, topic.target_topic);
        let width = self.topics.iter().map(|topic| name(topic).len()).max().unwrap_or(0).max(5);
        let _ = write!(text, "  {:<width$} {:>14} {:>14}", "topic", "source", "target");
        for kind in Kind::ALL {
            let _ = write!(text, " {:>10}", kind.name());
        }
        text.push('\n');
        for topic in &self.topics {
            let _ = write!(text, "  {:<width$} {:>14} {:>14}", name(topic), topic.source_records, topic.target_records);
            for kind in Kind::ALL {
                let _ = write!(text, " {:>10}", topic.of(kind));
            }
            text.push('\n');
        }
        for topic in &self.topics {
            Self::details(&mut text, topic);
        }
        text.push_str(&self.summary());
        text
    }

    fn details(text: &mut String, topic: &TopicReport) {
        let _ = writeln!(text, "{}/{} from {}", topic.target, topic.target_topic, topic.source_topics.join(", "));
        let ranges: Vec<String> = topic
            .source_ranges
            .iter()
            .map(|range| format!("{}@{}..{}", range.partition, range.from, range.to))
            .collect();
        let shown = ranges.len().min(8);
        let more =
            if ranges.len() > shown { format!(" and {} more partitions", ranges.len() - shown) } else { String::new() };
        let _ = writeln!(text, "  compared   {}{more}", ranges.get(..shown).unwrap_or_default().join(" "));
        let same = if topic.source_digest == topic.target_digest { "the same" } else { "not the same" };
        let _ = writeln!(text, "  digests    source {}, target {}: {same}", topic.source_digest, topic.target_digest);
        for (reason, count) in &topic.explained {
            let _ = writeln!(text, "  {count} {reason}");
        }
        for difference in &topic.listed {
            let side = |name: &str, place: &Option<String>| place.as_ref().map(|place| format!("{name} {place}"));
            let sides = [side("source", &difference.source), side("target", &difference.target)];
            let sides = sides.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let fields = if difference.fields.is_empty() {
                String::new()
            } else {
                format!(": {}", difference.fields.join(", "))
            };
            let _ = writeln!(text, "  {:<10} {sides}{fields}", difference.kind.name());
        }
        for kind in Kind::ALL {
            let listed = topic.listed.iter().filter(|difference| difference.kind == kind).count() as u64;
            if topic.of(kind) > listed {
                let _ = writeln!(text, "  {:<10} and {} more", kind.name(), topic.of(kind) - listed);
            }
        }
    }

    fn summary(&self) -> String {
        let sum = |field: fn(&TopicReport) -> u64| self.topics.iter().map(field).sum::<u64>();
        let (source, target) = (sum(|topic| topic.source_records), sum(|topic| topic.target_records));
        let bytes = HumanBytes(sum(|topic| topic.source_bytes) + sum(|topic| topic.target_bytes));
        let found: u64 = self.topics.iter().flat_map(|topic| topic.differences.values()).sum();
        let verdict = match (found, self.different) {
            (0, _) => "no difference".to_owned(),
            (count, true) => format!("{count} differences"),
            (count, false) => format!("{count} duplicates, which are allowed, and no other difference"),
        };
        format!(
            "compared {source} records with {target} ({bytes}) in {:.1} s, in {} of memory: {verdict}\n",
            self.seconds,
            HumanBytes(self.peak_memory_bytes)
        )
    }
}
