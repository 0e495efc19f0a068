//! What a route wants of its source: a reader, and what topics there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::preparation::{Topics, discover, partitions_of};
use super::progress::Progress;
use crate::domain::fault::Fault;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, OffsetAt};
use crate::kafka::reader::KafkaReader;
use crate::kafka::{Reader, TopicIds};
use crate::plan::{ReadBy, RoutePlan};
use crate::wire::reader::{Handing, WireReader};

/// A reader of the route's source; what it may hold ready, in bytes, is shared out among the partitions.
pub(super) fn open_reader(
    plan: &RoutePlan,
    ready: u64,
    partitions: usize,
    progress: &Progress,
) -> Result<Arc<dyn Reader>, Fault> {
    const LEAST: u64 = 64 << 10;
    const MOST: u64 = 1 << 20;
    let share = ready / partitions.max(1) as u64;
    let (limits, share) = (plan.batch.clone(), share.clamp(LEAST, MOST));
    Ok(match plan.read_by() {
        ReadBy::Batches => {
            let handing = Handing::Batches(progress.fallbacks.clone());
            Arc::new(WireReader::open(&plan.source, limits, share, handing)?)
        }
        ReadBy::Records => Arc::new(WireReader::open(&plan.source, limits, share, Handing::Records)?),
        ReadBy::Librdkafka => Arc::new(KafkaReader::open(&plan.source, limits, share)?),
    })
}

/// What the source was found to have.
pub(super) struct Found {
    pub(super) source: Arc<Admin>,
    pub(super) topics: Topics,
    pub(super) unreadable: Vec<Fault>,
    /// The topics' ids, where the cluster tells them.
    pub(super) ids: TopicIds,
    /// Where the partitions end that were asked for.
    pub(super) ends: HashMap<TopicPartition, i64>,
}

/// Asks the source for its selected topics, and for the ends of these partitions; of all, where it is asked for the first time:
/// `needs_all` says whether it will not do without one of them. Blocks.
pub(super) fn look(
    plan: &RoutePlan,
    source: Option<Arc<Admin>>,
    known: &Topics,
    owned: &[TopicPartition],
    needs_all: bool,
) -> Result<Found, Fault> {
    let source = match source {
        Some(source) => source,
        None => Arc::new(Admin::open(&plan.source)?),
    };
    let (topics, unreadable) = discover(&source, &plan.topics)?;
    // those that can't be told now are told by the next look
    let ids = source.topic_ids(topics.keys().map(String::as_str)).unwrap_or_else(|fault| {
        tracing::debug!(route = %plan.name, "{fault}");
        TopicIds::new()
    });
    let ends = match (known.is_empty(), needs_all) {
        (true, true) => source.offsets(&partitions_of(&topics), OffsetAt::Latest)?,
        // one that has no leader now has no end that could be told, and that is no trouble with the source
        (true, false) => source.offsets_of_some(&partitions_of(&topics), OffsetAt::Latest)?.0,
        (false, _) => source.offsets_of_some(owned, OffsetAt::Latest).unwrap_or_default().0,
    };
    Ok(Found { source, topics, unreadable, ids, ends })
}
