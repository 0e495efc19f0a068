//! What people have switched by hand: kept beside the config, and put over it at each start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Plan, RoutePlan};

/// What differs from the config, by route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// By the route's name.
    #[serde(default)]
    pub routes: BTreeMap<String, RouteSwitches>,
}

/// What differs for a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSwitches {
    /// Whether it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// By the target's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, TargetSwitches>,
}

/// What differs for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSwitches {
    /// Whether it is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Bytes per second that the route may write to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<SwitchedRate>,
}

/// A rate that was set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchedRate {
    /// Without limit but those around it.
    Unlimited,
    /// Bytes per second.
    BytesPerSecond(u64),
}

impl SwitchedRate {
    /// Bytes per second; `None` is without limit.
    pub fn rate(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::BytesPerSecond(rate) => Some(rate),
        }
    }
}

impl Switches {
    /// Notes that a route is switched on or off.
    pub fn enable(&mut self, configured: &RoutePlan, enabled: bool) {
        self.of(&configured.name).enabled = (enabled != configured.enabled).then_some(enabled);
        self.tidy();
    }

    /// Notes that a target is paused, or not any more.
    pub fn pause(&mut self, configured: &RoutePlan, target: usize, paused: bool) {
        if let Some(plan) = configured.targets.get(target) {
            self.of(&configured.name).of(plan.name()).paused = paused;
        }
        self.tidy();
    }

    /// Notes what a route may write to a target.
    pub fn throttle(&mut self, configured: &RoutePlan, target: usize, rate: Option<u64>) {
        if let Some(plan) = configured.targets.get(target) {
            let switched = rate.map_or(SwitchedRate::Unlimited, SwitchedRate::BytesPerSecond);
            let most = plan.cluster.write_bandwidth;
            let differs = rate.or(most) != plan.bandwidth.or(most);
            self.of(&configured.name).of(plan.name()).bandwidth = differs.then_some(switched);
        }
        self.tidy();
    }

    /// Puts what was switched over a plan. What it no longer has, or what is the same by now, is of no interest; each is named in
    /// what is returned, with why.
    #[must_use]
    pub fn apply(&self, plan: &mut Plan) -> Vec<String> {
        let mut ignored = Vec::new();
        for (name, switches) in &self.routes {
            let Some(route) = plan.routes.iter_mut().find(|route| route.name == *name) else {
                ignored.push(format!("what was switched of route {name}: the config has no such route any more"));
                continue;
            };
            route.enabled = self.is_enabled(route);
            for (alias, switches) in &switches.targets {
                let Some(target) = route.targets.iter_mut().find(|target| target.name() == alias) else {
                    ignored.push(format!("what was switched of target {alias} of route {name}: it is none any more"));
                    continue;
                };
                target.paused = switches.paused;
                if let Some(switched) = switches.bandwidth {
                    let most = target.cluster.write_bandwidth;
                    target.bandwidth = match (switched.rate(), most) {
                        (Some(rate), Some(most)) => Some(rate.min(most)),
                        (rate, most) => rate.or(most),
                    };
                }
            }
        }
        ignored
    }

    /// Whether a route runs: as it was switched, or else as the config says.
    pub fn is_enabled(&self, configured: &RoutePlan) -> bool {
        self.routes.get(&configured.name).and_then(|switches| switches.enabled).unwrap_or(configured.enabled)
    }

    /// What differs, for people, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (route, switches) in &self.routes {
            match switches.enabled {
                Some(true) => lines.push(format!("route {route} is switched on by hand")),
                Some(false) => lines.push(format!("route {route} is switched off by hand")),
                None => {}
            }
            for (target, switches) in &switches.targets {
                if switches.paused {
                    lines.push(format!("target {target} of route {route} is paused by hand"));
                }
                if let Some(rate) = switches.bandwidth {
                    let rate = rate.rate().map_or_else(|| "unlimited".to_owned(), |rate| format!("{rate} bytes/s"));
                    lines.push(format!("the bandwidth of target {target} of route {route} is set to {rate} by hand"));
                }
            }
        }
        lines
    }

    fn of(&mut self, route: &str) -> &mut RouteSwitches {
        self.routes.entry(route.to_owned()).or_default()
    }

    /// What differs in nothing is not kept.
    fn tidy(&mut self) {
        for route in self.routes.values_mut() {
            route.targets.retain(|_, target| *target != TargetSwitches::default());
        }
        self.routes.retain(|_, route| *route != RouteSwitches::default());
    }
}

impl RouteSwitches {
    fn of(&mut self, target: &str) -> &mut TargetSwitches {
        self.targets.entry(target.to_owned()).or_default()
    }
}
