//! How a target producer lets go of a partition that another process is to have, or that is to be looked at anew: what the writer
//! has of it is finished, or all that was read.

use std::sync::atomic::Ordering::Relaxed;

use actix::Handler;

use super::feed::{Feed, Mode};
use super::messages::{Finish, Release, Released};
use super::target_producer::TargetProducer;
use crate::domain::topic_partition::TopicPartition;

impl TargetProducer {
    /// Lets go of a partition that is to be let go of, once the writer has nothing of it any more. What was refused of it is
    /// above the watermark, so whoever has it next begins there.
    pub(super) fn finish_release(&mut self, partition: &TopicPartition) {
        let finished = |feed: &Feed| match feed.releasing {
            None => false,
            Some(Finish::WithWriter) => true,
            // a partition that is blocked holds nothing
            Some(Finish::Read) => feed.blocked || (!feed.has_queued() && feed.under_way == 0),
        };
        let through = |feed: &Feed| feed.with_writer == 0 && finished(feed);
        if !self.feeds.get(partition).is_some_and(through) {
            return;
        }
        self.forget_handed(partition);
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

    fn handle(&mut self, Release { partition, finish }: Release, _: &mut Self::Context) {
        let Some(feed) = self.feeds.get_mut(&partition) else { return self.say_released(&partition) };
        // whoever wants less of it decides
        let finish = if feed.is_let_go() { Finish::WithWriter } else { finish };
        feed.releasing = Some(finish);
        if feed.mode != Mode::Leaving {
            self.part_from_reads(&partition, finish);
        } else if finish == Finish::WithWriter {
            self.load.backlog.fetch_sub(feed.queued_bytes(), Relaxed);
            feed.let_go();
        }
        // it is not to come back
        self.leaving.remove(&partition);
        self.finish_release(&partition);
    }
}
