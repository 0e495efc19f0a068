//! What the source does not have any more though a target needs it. Looked for before a target begins with a partition, and again
//! whenever a read can't go on: nothing is skipped behind anybody's back. All of it blocks.

use std::collections::{BTreeMap, HashMap};

use crate::domain::fault::Fault;
use crate::domain::gap::{Gap, GapKind, epoch_of};
use crate::domain::note::Note;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, OffsetAt};
use crate::kafka::probe::{Probe, Seen};
use crate::plan::ClusterSpec;

/// Where a target is to go on with a partition, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Resume {
    /// The first source offset that it needs.
    pub(super) from: i64,
    /// What was kept with that.
    pub(super) note: Note,
    /// The furthest end of the partition that this process has seen.
    pub(super) end: Option<i64>,
    /// Whether nobody knows of a watermark.
    pub(super) fresh: bool,
}

/// What the source has now.
struct Present {
    first: HashMap<TopicPartition, i64>,
    end: HashMap<TopicPartition, i64>,
    ids: BTreeMap<String, String>,
}

/// Finds the gaps of partitions that a target is to go on with.
pub(super) fn find(
    cluster: &ClusterSpec,
    source: &Admin,
    resumes: &HashMap<TopicPartition, Resume>,
    ids: &BTreeMap<String, String>,
) -> Result<HashMap<TopicPartition, Gap>, Fault> {
    let partitions: Vec<TopicPartition> = resumes.keys().cloned().collect();
    let present = Present {
        first: source.offsets(&partitions, OffsetAt::Earliest)?,
        end: source.offsets(&partitions, OffsetAt::Latest)?,
        ids: ids.clone(),
    };
    let mut gaps: HashMap<TopicPartition, Gap> = resumes
        .iter()
        .filter_map(|(partition, resume)| Some((partition.clone(), present.plain_gap(partition, resume)?)))
        .collect();
    let unsure: Vec<TopicPartition> = resumes
        .iter()
        .filter(|(partition, resume)| match gaps.get(*partition) {
            None => present.first.get(*partition).is_some_and(|first| resume.from > *first),
            Some(gap) => gap.kind == GapKind::Truncated,
        })
        .filter(|(_, resume)| !resume.note.epochs.is_empty())
        .map(|(partition, _)| partition.clone())
        .collect();
    if unsure.is_empty() {
        return Ok(gaps);
    }
    let probe = Probe::open(cluster)?;
    for partition in diverged(&probe, unsure, resumes, &gaps) {
        let Some(resume) = resumes.get(&partition) else { continue };
        if let Some(gap) = present.truncated(&probe, &partition, resume) {
            gaps.insert(partition, gap);
        }
    }
    Ok(gaps)
}

/// Those of which the record below the place to go on at was written by another leader than the one that it was read from; and
/// those that are known to be cut off.
fn diverged(
    probe: &Probe,
    unsure: Vec<TopicPartition>,
    resumes: &HashMap<TopicPartition, Resume>,
    gaps: &HashMap<TopicPartition, Gap>,
) -> Vec<TopicPartition> {
    let (cut, looks): (Vec<_>, Vec<_>) = unsure.into_iter().partition(|partition| gaps.contains_key(partition));
    let at: Vec<(TopicPartition, i64)> =
        looks.into_iter().filter_map(|tp| resumes.get(&tp).map(|resume| (tp.clone(), resume.from - 1))).collect();
    let seen = if at.is_empty() { HashMap::new() } else { probe.look(&at) };
    let differs = |(partition, seen): (TopicPartition, Option<Seen>)| {
        let resume = resumes.get(&partition)?;
        let seen = seen.filter(|seen| seen.epoch >= 0)?;
        let (last, _) = resume.note.epochs.last()?;
        let other = if seen.offset < resume.from {
            epoch_of(&resume.note.epochs, seen.offset).is_some_and(|known| known != seen.epoch)
        } else {
            seen.epoch < *last // epochs only rise along a log
        };
        other.then_some(partition)
    };
    cut.into_iter().chain(seen.into_iter().filter_map(differs)).collect()
}

impl Present {
    /// What offsets and ids tell.
    fn plain_gap(&self, partition: &TopicPartition, resume: &Resume) -> Option<Gap> {
        let (first, end) = (*self.first.get(partition)?, *self.end.get(partition)?);
        let from = resume.from;
        let id = self.ids.get(&*partition.topic);
        if let (Some(was), Some(is)) = (&resume.note.topic_id, id)
            && was != is
        {
            let to = resume.end.unwrap_or(from).max(from);
            return Some(Gap { kind: GapKind::Recreated, from, to, resume: first });
        }
        if from < first {
            return Some(Gap { kind: GapKind::Trimmed, from, to: first, resume: first });
        }
        (from > end).then_some(Gap { kind: GapKind::Truncated, from: end, to: from, resume: end })
    }

    /// Where the source parted from what was copied: the lowest offset whose record was written by another leader, or is not
    /// there. Found by halves: below it all is as it was, and above it nothing is.
    fn truncated(&self, probe: &Probe, partition: &TopicPartition, resume: &Resume) -> Option<Gap> {
        let (first, end) = (*self.first.get(partition)?, *self.end.get(partition)?);
        let history = &resume.note.epochs;
        let (mut low, mut high) = (first.max(history.first()?.1), resume.from.min(end));
        while low < high {
            let middle = low + (high - low) / 2;
            let seen = probe.look(&[(partition.clone(), middle)]).remove(partition)?;
            match seen.filter(|seen| seen.offset < high) {
                Some(seen) if epoch_of(history, seen.offset) == Some(seen.epoch) => low = seen.offset + 1,
                _ => high = middle,
            }
        }
        Some(Gap { kind: GapKind::Truncated, from: low, to: resume.from, resume: low })
    }
}
