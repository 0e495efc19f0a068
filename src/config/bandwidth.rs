//! Bandwidths: what a cluster is sold with, and what a target may take of it.

use std::sync::Arc;

use super::mistake::Read;
use super::reader::{Field, Section};
use super::values;
use crate::plan::ClusterSpec;

/// What may be written to a cluster: its peak, of which every replica of a record takes a part.
pub(super) fn read_write_budget(cluster: &Section<'_>) -> Read<Option<u64>> {
    let (peak_field, replicas_field) = (cluster.field("peak_bandwidth"), cluster.field("replicas"));
    let peak = peak_field.rate();
    let replicas = replicas_field.integer(1..=10);
    if replicas_field.is_set() && !peak_field.is_set() {
        let hint = "give `peak_bandwidth` too, or leave the key out";
        return Err(replicas_field.wrong("has no use without `peak_bandwidth`", hint));
    }
    let replicas = replicas?.and_then(|number| u64::try_from(number).ok()).unwrap_or(1);
    Ok(peak?.map(|peak| peak / replicas))
}

/// What a target may take, as it is written.
enum Share {
    Rate(u64),
    Percent(u64),
}

/// What one route may write to a target; its cluster's whole budget where nothing is said.
pub(super) fn read_share(field: &Field<'_>, cluster: &Read<Arc<ClusterSpec>>) -> Read<Option<u64>> {
    const HINT: &str = "add the unit and `/s`, such as 20MiB/s, or write a part of the cluster's budget, such as 80%";
    let parse = |text: &str| match values::percentage(text) {
        Some(percent) => percent.map(Share::Percent),
        None => values::rate(text).map(Share::Rate),
    };
    let budget = cluster.as_ref().map_or(None, |cluster| cluster.write_bandwidth);
    field.or_unlimited(budget, |field| match field.measured("a rate", HINT, parse)? {
        None => Ok(None),
        Some(Share::Rate(rate)) => Ok(Some(rate)),
        Some(Share::Percent(percent)) => match (cluster.as_ref().map_err(|reported| *reported)?, budget) {
            (_, Some(budget)) => Ok(Some(budget * percent / 100)),
            (cluster, None) => {
                let hint = format!("set `clusters.{}.peak_bandwidth`, or write a rate such as 20MiB/s", cluster.alias);
                Err(field.wrong("is a part of a budget, but its cluster has no `peak_bandwidth`", hint))
            }
        },
    })
}
