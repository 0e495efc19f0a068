//! The table of instruments: all that `/metrics` shows stands here, once.
//!
//! A name is what Prometheus shows, unit and `_total` included: the exporter adds nothing to it.

use super::reading::{self, Reading};

/// An instrument: a row of the table.
pub struct Instrument {
    /// Its name.
    pub name: &'static str,
    /// What its numbers do.
    pub kind: Kind,
    /// What its numbers count.
    pub unit: Unit,
    /// What its series are told apart by.
    pub labels: &'static [&'static str],
    /// What it tells, for people.
    pub meaning: &'static str,
    pub(super) values: Values,
}

/// What the numbers of an instrument do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They rise, and begin at nothing with each process.
    Counter,
    /// They rise and fall.
    Gauge,
    /// They are distributions.
    Histogram,
}

impl Kind {
    /// The name that Prometheus has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the numbers of an instrument count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Records.
    Records,
    /// Record batches.
    Batches,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Attempts.
    Attempts,
    /// Partitions.
    Partitions,
    /// Gaps.
    Gaps,
    /// Actors.
    Actors,
    /// Places in a partition.
    Offsets,
    /// 1 for what is so, and 0 for what is not.
    Truth,
}

impl Unit {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Batches => "batches",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Attempts => "attempts",
            Self::Partitions => "partitions",
            Self::Gaps => "gaps",
            Self::Actors => "actors",
            Self::Offsets => "offset",
            Self::Truth => "0 or 1",
        }
    }

    /// As UCUM writes it.
    pub(super) fn ucum(self) -> &'static str {
        match self {
            Self::Bytes => "By",
            Self::Seconds => "s",
            Self::Records => "{record}",
            Self::Batches => "{batch}",
            Self::Attempts => "{attempt}",
            Self::Partitions => "{partition}",
            Self::Gaps => "{gap}",
            Self::Actors => "{actor}",
            Self::Offsets => "{offset}",
            Self::Truth => "1",
        }
    }
}

/// Takes a number, with the values of its labels in the order of the row.
pub(super) type Out<'a, T> = &'a mut dyn FnMut(&[&str], T);

/// Where an instrument's numbers come from.
#[derive(Clone, Copy)]
pub(super) enum Values {
    /// Whole numbers, read when somebody asks.
    Whole(fn(&Reading, Out<'_, u64>)),
    /// Other numbers, read when somebody asks.
    Real(fn(&Reading, Out<'_, f64>)),
    /// The engine tells of each one when it is there.
    Told,
}

/// Seconds that the buckets of a latency go up to.
pub(super) const LATENCIES: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// The one whose numbers the engine tells.
pub(super) const LATENCY: &str = "anabranch_replication_latency_seconds";

const fn counter(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    values: Values,
    meaning: &'static str,
) -> Instrument {
    Instrument { name, kind: Kind::Counter, unit, labels, meaning, values }
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    values: Values,
    meaning: &'static str,
) -> Instrument {
    Instrument { name, kind: Kind::Gauge, unit, labels, meaning, values }
}

/// All instruments. A `topic` is always one of the source, whatever a target calls it.
pub const INSTRUMENTS: &[Instrument] = &[
    gauge(
        "anabranch_build_info",
        Unit::Truth,
        &["version"],
        Values::Whole(reading::build_info),
        "Always 1; the version is in the label",
    ),
    gauge(
        "anabranch_start_time_seconds",
        Unit::Seconds,
        &[],
        Values::Real(reading::start_time),
        "When the process began, in seconds since 1970",
    ),
    counter(
        "anabranch_source_records_total",
        Unit::Records,
        &["route", "topic"],
        Values::Whole(reading::source_records),
        "Records read from the source, also those that a target which catches up has read once more",
    ),
    counter(
        "anabranch_source_bytes_total",
        Unit::Bytes,
        &["route", "topic"],
        Values::Whole(reading::source_bytes),
        "Bytes of keys, values and headers read from the source, uncompressed; of batches that are passed on, their own",
    ),
    counter(
        "anabranch_target_records_total",
        Unit::Records,
        &["route", "target", "topic"],
        Values::Whole(reading::target_records),
        "Records that the target topic has acknowledged",
    ),
    counter(
        "anabranch_target_bytes_total",
        Unit::Bytes,
        &["route", "target", "topic"],
        Values::Whole(reading::target_bytes),
        "Bytes of keys, values and headers that the target topic has acknowledged, uncompressed; of batches that are passed on, their own",
    ),
    counter(
        "anabranch_dead_letter_records_total",
        Unit::Records,
        &["route", "target", "topic"],
        Values::Whole(reading::dead_letters),
        "Records that the target did not take, and that were written as dead letters",
    ),
    counter(
        "anabranch_dropped_records_total",
        Unit::Records,
        &["route", "target", "topic"],
        Values::Whole(reading::dropped),
        "Records that the target did not take, and that were dropped as the policy says",
    ),
    counter(
        "anabranch_kept_records_total",
        Unit::Records,
        &["route", "target", "topic"],
        Values::Whole(reading::kept),
        "Records that the target did not take, and that were kept as envelopes in the target topic",
    ),
    counter(
        "anabranch_gaps_total",
        Unit::Gaps,
        &["route", "topic"],
        Values::Whole(reading::gaps),
        "Gaps found, each partition once for every target that it concerns",
    ),
    counter(
        "anabranch_fallbacks_total",
        Unit::Batches,
        &["route", "reason"],
        Values::Whole(reading::fallbacks),
        "Batches that were not passed on as the source has them: opened and made anew, or left out where they were aborted",
    ),
    gauge(
        "anabranch_lag_records",
        Unit::Records,
        &["route", "target", "topic", "partition"],
        Values::Whole(reading::lag_records),
        "Source offsets from the watermark to the end of the source: at most so many records are missing",
    ),
    gauge(
        "anabranch_source_end_offset",
        Unit::Offsets,
        &["route", "topic", "partition"],
        Values::Whole(reading::source_ends),
        "Where the source ended at the last look: less the lag, this is a target's watermark",
    ),
    gauge(
        "anabranch_lag_seconds",
        Unit::Seconds,
        &["route", "target"],
        Values::Real(reading::lag_seconds),
        "For how long the oldest missing record has been at the source, as far as this process has seen; 0 where none is missing",
    ),
    Instrument {
        name: LATENCY,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        labels: &["route", "target"],
        meaning: "From a record's timestamp to its acknowledgement; the first record of each write stands for all of it",
        values: Values::Told,
    },
    gauge(
        "anabranch_in_flight_bytes",
        Unit::Bytes,
        &["route"],
        Values::Whole(reading::in_flight),
        "Memory of what is read and not acknowledged",
    ),
    counter(
        "anabranch_throttled_seconds_total",
        Unit::Seconds,
        &["route", "target", "reason"],
        Values::Real(reading::throttled),
        "Time in which something was there to be written and had to wait, for a limit or for the broker",
    ),
    counter(
        "anabranch_retries_total",
        Unit::Attempts,
        &["route", "target", "class"],
        Values::Whole(reading::retries),
        "Attempts that failed and were followed by another, by the class of the fault",
    ),
    gauge(
        "anabranch_detached_partitions",
        Unit::Partitions,
        &["route", "target"],
        Values::Whole(reading::detached),
        "Partitions that have left the shared read and catch up by a read of their own",
    ),
    gauge(
        "anabranch_target_state",
        Unit::Truth,
        &["route", "target", "state"],
        Values::Whole(reading::target_states),
        "1 for the state that the target is in, 0 for all others",
    ),
    gauge(
        "anabranch_route_state",
        Unit::Truth,
        &["route", "state"],
        Values::Whole(reading::route_states),
        "1 for the state that the route is in, 0 for all others",
    ),
    counter(
        "anabranch_restarts_total",
        Unit::Actors,
        &["actor", "reason"],
        Values::Whole(reading::restarts),
        "Actors that were made anew, over all routes, by what they are and how they had come to their end",
    ),
];

/// The table, for a document.
pub fn markdown() -> String {
    let row = |instrument: &Instrument| {
        let Instrument { name, kind, unit, meaning, .. } = instrument;
        let labels: Vec<String> = instrument.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {} | {} | {} | {meaning} |\n", kind.name(), unit.name(), labels.join(", "))
    };
    let head = "| name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    INSTRUMENTS.iter().fold(head, |table, instrument| table + &row(instrument))
}
