//! The first thing that a new user runs: nothing is installed for it, and it proves by itself that all arrived.

use crate::support::engine::Engine;
use crate::support::seconds;
use crate::support::turns::Turn;

#[test]
fn the_demo_fans_out_and_proves_that_all_arrived() {
    let _turn = Turn::alone();
    let finished = Engine::start(&["demo"], &[]).wait(seconds(90)).assert_code(0);
    println!("{}", finished.stdout);
    let proven = finished.stdout.lines().filter(|line| line.contains("missing 0  altered 0  order kept"));
    assert_eq!(proven.count(), 2, "both regions have all of it");
}
