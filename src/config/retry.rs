//! `retry`: how faults are met. It may stand at the top, on a route and on a target.
//!
//! What is deeper goes before what is shallower, key by key. A `profile` replaces all that shallower levels said about
//! the classes, and a `backoff` is always written whole: half of one level's and half of another's suits neither.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::{Clusters, find};
use super::keys;
use super::mistake::{Read, Reported};
use super::reader::{Field, Section};
use super::values;
use crate::domain::retry::{Backoff, OnExhausted, Policies, Policy, Profile};
use crate::domain::routing::TopicTemplate;
use crate::plan::{ClusterSpec, DeadLetterPlan, make_dead_letters};

/// What the levels read so far say together.
pub(super) struct Retry {
    pub(super) policies: Read<Policies>,
    dead_letter: Read<DeadLetter>,
}

#[derive(Clone)]
struct DeadLetter {
    /// The target itself where no level names one.
    cluster: Option<Arc<ClusterSpec>>,
    topic: TopicTemplate,
}

impl Default for Retry {
    fn default() -> Self {
        let dead_letter = DeadLetter { cluster: None, topic: TopicTemplate::dead_letter() };
        Self { policies: Ok(Policies::default()), dead_letter: Ok(dead_letter) }
    }
}

impl Retry {
    /// This with what the next deeper level says.
    pub(super) fn with(&self, field: &Field<'_>, clusters: &Clusters) -> Self {
        match field.section(keys::RETRY) {
            Ok(section) => Self {
                policies: read_policies(&section, &self.policies),
                dead_letter: read_dead_letter(&section.field("dead_letter"), &self.dead_letter, clusters),
            },
            Err(reported) => Self { policies: Err(reported), dead_letter: Err(reported) },
        }
    }

    /// Where the dead letters of a target go.
    pub(super) fn dead_letter(&self, target: &Arc<ClusterSpec>) -> Read<DeadLetterPlan> {
        let DeadLetter { cluster, topic } = self.dead_letter.clone()?;
        Ok(DeadLetterPlan { cluster: cluster.unwrap_or_else(|| target.clone()), topic })
    }

    /// Whether somebody cares where dead letters go: no default makes any.
    pub(super) fn speaks_of_dead_letters(&self) -> bool {
        let written = |it: &DeadLetter| it.cluster.is_some() || it.topic != TopicTemplate::dead_letter();
        self.dead_letter.as_ref().is_ok_and(written) || self.policies.is_ok_and(|policies| make_dead_letters(&policies))
    }
}

const PROFILES: &[(&str, Profile)] = &[
    ("durable", Profile::Durable),
    ("ckafka-2020", Profile::Ckafka2020),
    ("ckafka-2025", Profile::Ckafka2025),
    ("scf-async", Profile::ScfAsync),
];

const ON_EXHAUSTED: &[(&str, OnExhausted)] = &[
    ("block", OnExhausted::Block),
    ("dead_letter", OnExhausted::DeadLetter),
    ("drop", OnExhausted::Drop),
    ("keep", OnExhausted::Keep),
];

/// The keys of this level are read also where a shallower one has a mistake.
fn read_policies(section: &Section<'_>, above: &Read<Policies>) -> Read<Policies> {
    let profile = section.field("profile").choice(PROFILES);
    let on_exhausted = section.field("on_exhausted").choice(ON_EXHAUSTED);
    let mut base = match profile {
        Ok(Some(profile)) => Policies::of_profile(profile),
        _ => above.unwrap_or_default(),
    };
    if let Ok(Some(then)) = on_exhausted {
        for policy in [&mut base.record, &mut base.overrun, &mut base.system] {
            policy.on_exhausted = then;
        }
    }
    let record = read_policy(&section.field("record"), base.record);
    let overrun = read_policy(&section.field("overrun"), base.overrun);
    let system = read_policy(&section.field("system"), base.system);
    let crash = read_crash(&section.field("crash"), base.crash);
    (*above)?;
    profile?;
    on_exhausted?;
    Ok(Policies { record: record?, overrun: overrun?, system: system?, crash: crash? })
}

fn read_policy(field: &Field<'_>, above: Policy) -> Read<Policy> {
    const YOUNGEST: Duration = Duration::from_secs(1);
    const OLDEST: Duration = Duration::from_hours(30 * 24);
    let section = field.section(keys::POLICY)?;
    let attempts = section.field("attempts").or_unlimited(above.attempts, |field| {
        Ok(field.integer(1..=10_000)?.and_then(|number| u32::try_from(number).ok()))
    });
    let backoff = read_backoff(&section.field("backoff"));
    let max_age = section.field("max_age").or_unlimited(above.max_age, |field| field.duration(YOUNGEST..=OLDEST));
    let on_exhausted = section.field("on_exhausted").choice(ON_EXHAUSTED);
    Ok(Policy {
        attempts: attempts?,
        backoff: backoff?.unwrap_or(above.backoff),
        max_age: max_age?,
        on_exhausted: on_exhausted?.unwrap_or(above.on_exhausted),
    })
}

fn read_crash(field: &Field<'_>, above: Policy) -> Read<Policy> {
    let section = field.section(keys::CRASH)?;
    Ok(Policy { backoff: read_backoff(&section.field("backoff"))?.unwrap_or(above.backoff), ..above })
}

fn read_backoff(field: &Field<'_>) -> Read<Option<Backoff>> {
    const HINT: &str = "write { fixed: 60s }, or { initial: 500ms, max: 60s } with `factor` and `jitter` if need be";
    if !field.is_set() {
        return Ok(None);
    }
    let section = field.section(keys::BACKOFF)?;
    let is_set = |keys: &[&'static str]| keys.iter().any(|key| section.field(key).is_set());
    match (is_set(&["fixed"]), is_set(&["initial", "factor", "max", "jitter"])) {
        (true, false) => {
            let fixed = section.field("fixed").duration(SHORTEST..=LONGEST)?;
            Ok(fixed.map(Backoff::Fixed))
        }
        (false, true) => read_exponential(&section, HINT).map(Some),
        (true, true) => Err(field.wrong("has both forms of a backoff", HINT)),
        (false, false) => Err(field.wrong("has neither form of a backoff", HINT)),
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_hours(24);
// as in the profiles
const FACTOR: f64 = 2.0;
const JITTER: f64 = 0.2;

fn read_exponential(section: &Section<'_>, hint: &str) -> Read<Backoff> {
    let delay = |key| section.field(key).required(hint).and_then(|field| field.duration(SHORTEST..=LONGEST));
    let (initial, max) = (delay("initial"), delay("max"));
    let factor = section.field("factor").number(1.0..=10.0);
    let jitter = section.field("jitter").number(0.0..=1.0);
    let (initial, max) = (initial?.ok_or(Reported)?, max?.ok_or(Reported)?);
    if initial > max {
        return Err(section.field("initial").wrong("is more than `max`", "lower it, or raise `max`"));
    }
    Ok(Backoff::Exponential { initial, factor: factor?.unwrap_or(FACTOR), max, jitter: jitter?.unwrap_or(JITTER) })
}

fn read_dead_letter(field: &Field<'_>, above: &Read<DeadLetter>, clusters: &Clusters) -> Read<DeadLetter> {
    const CLUSTER: &str = "name one of the clusters, or leave the key out: then they stay at the target";
    const TOPIC: &str =
        "write a topic's name in which {topic} stands for the target topic's, such as {topic}.dead-letter";
    let section = field.section(keys::DEAD_LETTER)?;
    let cluster = find(&section.field("cluster"), CLUSTER, clusters);
    let topic = section.field("topic").parsed(TOPIC, |text| values::template(text, TOPIC));
    let above = above.clone()?;
    Ok(DeadLetter { cluster: cluster?.or(above.cluster), topic: topic?.unwrap_or(above.topic) })
}
