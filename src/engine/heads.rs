//! How far the targets are behind: where the source ends is looked at once a second, as often as watermarks are committed, so that
//! what is shown here and what Kafka's own tools show agree.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::task::spawn_blocking;

use super::clock::now;
use super::route::{Index, Route};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::OffsetAt;
use crate::kafka::group::Group;

/// How often.
const LOOK: Duration = Duration::from_secs(1);

impl Route {
    /// Looks where the source ends, and where a target would go on that has not begun yet. One look at a time.
    pub(super) fn look_at_heads(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        let partitions = self.ownership.of(&self.topics);
        let Some(source) = self.source.clone().filter(|_| !partitions.is_empty()) else {
            ctx.run_later(LOOK, Self::look_at_heads);
            return;
        };
        let asleep: Vec<_> = (0..self.targets.len()).filter_map(|index| Some((index, self.asleep(index)?))).collect();
        let progress = self.params.lasting.progress.clone();
        let work = spawn_blocking(move || {
            // a source that does not answer is told elsewhere: what is shown is what was seen last
            let (ends, _) = source.offsets_of_some(&partitions, OffsetAt::Latest).unwrap_or_default();
            progress.look_at_heads(&ends, now());
            for (index, group) in asleep {
                let missing: Vec<TopicPartition> =
                    partitions.iter().filter(|tp| progress.watermark(index, tp).is_none()).cloned().collect();
                if !missing.is_empty()
                    && let Ok(offsets) = group.committed(&missing)
                {
                    progress.look_at_committed(index, offsets);
                }
            }
        });
        ctx.spawn(work.into_actor(self).map(|_, _, ctx| {
            ctx.run_later(LOOK, Self::look_at_heads);
        }));
    }

    /// The group of a target that has no actors, as one that is down.
    fn asleep(&self, index: Index) -> Option<Arc<Group>> {
        let slot = &self.targets[index];
        slot.group().filter(|_| !slot.is_running())
    }
}
