//! The places of a route's targets while its process runs: a target keeps its own, whatever comes and goes beside it, as all that is
//! known of it goes by that.

use super::{RoutePlan, TargetPlan};

impl RoutePlan {
    /// What this route becomes when `next` is to be done from now on: targets that stay keep their places, those that go keep them
    /// as [retired](TargetPlan::retired), and new ones come behind.
    #[must_use]
    pub fn followed_by(&self, next: &Self) -> Self {
        let stays = |old: &TargetPlan| next.targets.iter().find(|new| new.name() == old.name()).cloned();
        let mut targets: Vec<TargetPlan> = self
            .targets
            .iter()
            .map(|old| stays(old).unwrap_or_else(|| TargetPlan { retired: true, ..old.clone() }))
            .collect();
        let is_new = |target: &&TargetPlan| self.targets.iter().all(|old| old.name() != target.name());
        targets.extend(next.targets.iter().filter(is_new).cloned());
        Self { targets, ..next.clone() }
    }

    /// Its targets with their places, without those that are none any more.
    pub fn seated(&self) -> impl Iterator<Item = (usize, &TargetPlan)> {
        self.targets.iter().enumerate().filter(|(_, target)| !target.retired)
    }

    /// The place of a target by its name.
    pub fn seat_of(&self, name: &str) -> Option<usize> {
        self.seated().find(|(_, target)| target.name() == name).map(|(seat, _)| seat)
    }

    /// How a budget of this route in bytes is divided: what the shared read may have in flight, and what each target may for itself,
    /// handed to its writer or read by its own read.
    ///
    /// With several targets the shared read gets one half, and the other half is theirs in equal parts: so a read that catches up
    /// always finds permits, whatever the shared read and the other targets do. Alone there is nobody to catch up beside the
    /// shared read.
    pub fn shares(&self) -> (u64, u64) {
        let targets = self.seated().count() as u64;
        let shared = if targets > 1 { self.in_flight / 2 } else { self.in_flight };
        (shared, self.in_flight / (2 * targets.max(1)))
    }
}
