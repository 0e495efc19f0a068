//! What the source does not have any more though a target needs it. Looked for before a target begins with a partition, and again
//! whenever a read can't go on: nothing is skipped behind anybody's back. All of it blocks.

use std::collections::{BTreeMap, HashMap};

use super::preparation::{Topics, partitions_of};
use crate::domain::fault::Fault;
use crate::domain::gap::{Gap, Search, SourceNow, Verdict, compare, looked};
use crate::domain::note::Note;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::TopicIds;
use crate::kafka::admin::{Admin, OffsetAt};
use crate::kafka::group::{Group, group_name};
use crate::kafka::probe::Probe;
use crate::plan::{ClusterSpec, RoutePlan, TargetPlan};

/// Where a target is to go on with a partition, as far as it is known.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The first source offset that it needs.
    pub from: i64,
    /// What was kept with that.
    pub note: Note,
    /// The furthest end of the partition that this process has seen, by the id of the topic that `note` is about.
    pub end: Option<i64>,
    /// Whether nobody knows of a watermark.
    pub fresh: bool,
    /// Whether it is what the group has.
    pub in_group: bool,
}

/// A partition that was compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Where the target is; the topic's id is noted, if it was not yet.
    pub resume: Resume,
    /// What the source has.
    pub source: SourceNow,
    /// What it lacks, if anything.
    pub gap: Option<Gap>,
}

/// Compares where a target is to go on with what the source has. Topics that are not there are left out, as are partitions of which
/// the source tells nothing now: those are added to `silent`, each with the reason.
#[allow(clippy::implicit_hasher)] // nobody has another one
pub fn compare_all(
    cluster: &ClusterSpec,
    source: &Admin,
    resumes: HashMap<TopicPartition, Resume>,
    ids: &TopicIds,
    silent: &mut BTreeMap<TopicPartition, Fault>,
) -> Result<HashMap<TopicPartition, Compared>, Fault> {
    let there: Vec<TopicPartition> = resumes.keys().filter(|tp| ids.contains_key(&*tp.topic)).cloned().collect();
    let (first, without) = source.offsets_of_some(&there, OffsetAt::Earliest)?;
    silent.extend(without);
    let (end, without) = source.offsets_of_some(&there, OffsetAt::Latest)?;
    silent.extend(without);
    let mut compared = HashMap::new();
    let mut doubtful = Doubtful::default();
    for (partition, mut resume) in resumes {
        let (Some(first), Some(end)) = (first.get(&partition), end.get(&partition)) else { continue };
        let topic_id = ids.get(&*partition.topic).cloned().flatten();
        let now = SourceNow { topic_id, first: *first, end: *end };
        let mut gap = None;
        match compare(resume.from, &resume.note, &now, resume.end) {
            Verdict::Fine => {}
            Verdict::Gap(found) => gap = Some(found),
            Verdict::Look(at) => doubtful.looks.push((partition.clone(), at)),
            Verdict::Search(search) => drop(doubtful.searches.insert(partition.clone(), search)),
        }
        if resume.note.topic_id.is_none() {
            resume.note.topic_id.clone_from(&now.topic_id);
        }
        compared.insert(partition, Compared { resume, source: now, gap });
    }
    doubtful.settle(cluster, &mut compared)?;
    Ok(compared)
}

/// Partitions of which records have to be looked at.
#[derive(Default)]
struct Doubtful {
    looks: Vec<(TopicPartition, i64)>,
    searches: BTreeMap<TopicPartition, Search>,
}

impl Doubtful {
    /// Looks at the records before all watermarks at once, and then for the places where logs part, round by round.
    fn settle(mut self, cluster: &ClusterSpec, compared: &mut HashMap<TopicPartition, Compared>) -> Result<(), Fault> {
        self.searches.retain(|partition, search| match (search.next(), compared.get_mut(partition)) {
            (None, Some(of)) => {
                of.gap = search.gap(of.resume.from);
                false
            }
            _ => true,
        });
        if self.looks.is_empty() && self.searches.is_empty() {
            return Ok(());
        }
        let probe = Probe::open(cluster)?;
        for (partition, record) in probe.look(&self.looks)? {
            let Some(Compared { resume, source, .. }) = compared.get(&partition) else { continue };
            let record = record.map(|record| (record.offset, record.epoch));
            if let Verdict::Search(search) = looked(resume.from, &resume.note, source, record) {
                self.searches.insert(partition, search);
            }
        }
        loop {
            let next = |(partition, search): (&TopicPartition, &Search)| Some((partition.clone(), search.next()?));
            let places: Vec<(TopicPartition, i64)> = self.searches.iter().filter_map(next).collect();
            if places.is_empty() {
                break;
            }
            for (partition, record) in probe.look(&places)? {
                if let (Some(of), Some(search)) = (compared.get(&partition), self.searches.get_mut(&partition)) {
                    search.answer(&of.resume.note, record.map(|record| (record.offset, record.epoch)));
                }
            }
        }
        for (partition, search) in self.searches {
            if let Some(of) = compared.get_mut(&partition) {
                of.gap = search.gap(of.resume.from);
            }
        }
        Ok(())
    }
}

/// The gaps that a target of a route would meet, were it started now. Changes nothing.
pub fn ahead_of(
    route: &RoutePlan,
    target: &TargetPlan,
    topics: &Topics,
) -> Result<BTreeMap<TopicPartition, Gap>, Fault> {
    let source = Admin::open(&route.source)?;
    let group = Group::open(&route.source, &group_name(&route.name, target.name()))?;
    let ids = source.topic_ids(topics.keys().map(String::as_str))?;
    let committed = group.committed_with_notes(&partitions_of(topics))?;
    let resume =
        |(partition, (from, note))| (partition, Resume { from, note, end: None, fresh: false, in_group: true });
    let mut silent = BTreeMap::new();
    let resumes = committed.into_iter().map(resume).collect();
    let compared = compare_all(&route.source, &source, resumes, &ids, &mut silent)?;
    if let Some((_, fault)) = silent.pop_first() {
        return Err(fault);
    }
    Ok(compared.into_iter().filter_map(|(partition, compared)| Some((partition, compared.gap?))).collect())
}
