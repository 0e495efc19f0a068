//! What the comparisons share: the plainest pipe, the data, the measuring, and the tests' brokers.
#![allow(dead_code, reason = "each of the comparisons uses a part of it")]

pub(crate) mod bare_pipe;
pub(crate) mod data;
pub(crate) mod measure;

#[allow(unreachable_pub, clippy::all, clippy::pedantic, reason = "the tests' own; they use more of it")]
#[path = "../../tests/support/mod.rs"]
pub(crate) mod support;

use std::sync::atomic::{AtomicU32, Ordering};

/// A number that no other copy of this run has: each has a route of its own, or it would go on from the progress of the last.
pub(crate) fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The one in the middle, or the mean of the two that are there; panics where there is none.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = figures.into_iter().collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) }
}
