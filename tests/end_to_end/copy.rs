//! `copy` without a config file, with the target in the environment as the dump function had it.

use crate::support::cluster::regions;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::records::Bulk;
use crate::support::seconds;

#[test]
fn copy_takes_the_target_from_the_environment() {
    let regions = regions();
    let source = regions.guangzhou.topic("copy.from").create(3);
    let other = regions.guangzhou.topic("copy.from.not").create(1);
    let target = regions.shanghai.topic("copy.to").create(3);
    source.fill(20_000, Bulk { mixed: true, ..Bulk::over(3) });
    other.fill(10, Bulk::over(1).numbered_from(100_000));

    let from = regions.guangzhou.bootstrap();
    let arguments = ["copy", "--from", &from, "--topics", r"copy\.from"];
    let environment = [("kafka_address", regions.shanghai.bootstrap()), ("kafka_topic_name", "copy.to".to_owned())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let finished = Engine::start(&arguments, &environment).wait(seconds(60)).assert_code(0);

    assert!(finished.output().lines().count() > 0, "it says nothing of what it did");
    assert!(!finished.output().contains('\u{1b}'), "colours, bars or cursor movements, and no terminal");
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
}

#[test]
fn copy_writes_to_several_targets_under_the_same_name() {
    let regions = regions();
    let source = regions.guangzhou.topic("copy.many").create(2);
    source.fill(5_000, Bulk::over(2));

    let addresses =
        [regions.guangzhou, regions.shanghai, regions.beijing].map(crate::support::cluster::Cluster::bootstrap);
    let [from, shanghai, beijing] = &addresses;
    let arguments = ["copy", "--from", from, "--to", shanghai, "--to", beijing, "--topics", r"copy\.many"];
    Engine::start(&arguments, &[]).wait(seconds(60)).assert_code(0);

    let written = source.committed_rows();
    for cluster in [regions.shanghai, regions.beijing] {
        Ledger::compare(&written, &cluster.topic("copy.many").all_rows()).assert_exact();
    }
}
