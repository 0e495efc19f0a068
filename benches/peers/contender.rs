//! Who takes part.

/// One who copies topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Contender {
    /// `MirrorMaker` 2 as it comes.
    Mm2,
    /// `MirrorMaker` 2 with all that makes it faster.
    Mm2Tuned,
    /// The plainest program upon librdkafka; one process per target.
    Pipe,
    /// `kcat -C | kcat -P`: it keeps neither partitions nor headers nor timestamps.
    Kcat,
    /// anabranch, record by record.
    Records,
    /// anabranch, batches as they are.
    Passthrough,
}

impl Contender {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Mm2, Self::Mm2Tuned, Self::Pipe, Self::Kcat, Self::Records, Self::Passthrough];
    /// Those that copy to several targets, if as several processes.
    pub(crate) const FANNING: [Self; 4] = [Self::Mm2Tuned, Self::Pipe, Self::Records, Self::Passthrough];
    /// Those that follow a topic for as long as they are let.
    pub(crate) const FOLLOWING: [Self; 4] = Self::FANNING;
    /// Those that are made to look after many partitions.
    pub(crate) const WIDE: [Self; 3] = [Self::Mm2Tuned, Self::Records, Self::Passthrough];

    /// For tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mm2 => "MirrorMaker 2",
            Self::Mm2Tuned => "MirrorMaker 2, tuned",
            Self::Pipe => "librdkafka pipe",
            Self::Kcat => "kcat pipe",
            Self::Records => "anabranch, records",
            Self::Passthrough => "anabranch, passthrough",
        }
    }

    /// Whether its copies have each record in the partition that it came from.
    pub(crate) fn keeps_partitions(self) -> bool {
        self != Self::Kcat
    }
}
