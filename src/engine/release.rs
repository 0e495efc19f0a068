//! How a target producer lets go of a partition that another process is to have: what the writer has of it is finished, and the
//! rest is that process's.

use std::sync::atomic::Ordering::Relaxed;

use actix::Handler;

use super::feed::Mode;
use super::messages::{Release, Released};
use super::target_producer::TargetProducer;
use crate::domain::topic_partition::TopicPartition;

impl TargetProducer {
    /// Lets go of a partition that is to be let go of, once the writer has nothing of it any more. What was refused of it is
    /// above the watermark, so whoever has it next begins there.
    pub(super) fn finish_release(&mut self, partition: &TopicPartition) {
        let through = |feed: &super::feed::Feed| feed.releasing && feed.with_writer == 0;
        if !self.feeds.get(partition).is_some_and(through) {
            return;
        }
        let mine = self.handed.values().filter(|handed| handed.partition == *partition);
        let permits = mine.map(|handed| handed.permit).sum();
        self.load.backlog.fetch_sub(permits, Relaxed);
        self.handed.retain(|_, handed| handed.partition != *partition);
        self.feeds.remove(partition);
        let target = self.params.target;
        self.params.retries.forget_records(target, partition, i64::MAX);
        self.params.status.change_target(target, |facts| {
            facts.held.remove(partition);
            facts.blocked.remove(partition);
            facts.unreadable.remove(partition);
        });
        self.count_modes();
        self.say_released(partition);
    }

    fn say_released(&self, partition: &TopicPartition) {
        let (target, generation) = (self.params.target, self.params.generation);
        self.params.owner.released.do_send(Released { target, partition: partition.clone(), generation });
    }
}

impl Handler<Release> for TargetProducer {
    type Result = ();

    fn handle(&mut self, Release(partition): Release, _: &mut Self::Context) {
        let Some(feed) = self.feeds.get_mut(&partition) else { return self.say_released(&partition) };
        feed.releasing = true;
        if feed.mode != Mode::Leaving {
            self.part_from_shared_read(&partition);
        }
        // it is not to come back
        self.leaving.remove(&partition);
        self.finish_release(&partition);
    }
}
