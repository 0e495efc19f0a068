//! The door for fuzzing: brokers' answers that were never seen before (`fuzz/targets/answers.rs`).

use std::sync::Arc;

use super::counts::Counts;
use super::inlet::Inlet;
use super::ready::Ready;
use super::sift::{Purpose, sift};
use super::{connection, fetch, metadata, produce};

/// Reads an answer. The first byte says to which question, the second in which version.
pub fn answer(data: &[u8]) {
    let Some((&[question, version], answer)) = data.split_first_chunk::<2>() else { return };
    let within = |(least, most): (i16, i16)| least + i16::from(version) % (most - least + 1);
    match question % 4 {
        0 => drop(connection::versions(answer)),
        1 => drop(metadata::read(answer, within(metadata::VERSIONS))),
        2 => drop(produce::read(answer, within(produce::VERSIONS))),
        _ => fetched(answer, within(fetch::VERSIONS)),
    }
}

fn fetched(answer: &[u8], version: i16) {
    const ASKED: i32 = 7;
    let counts = Counts::new(Arc::default());
    let mut frame = u32::try_from(answer.len() + 4).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    frame.extend(ASKED.to_be_bytes());
    frame.extend(answer);
    let mut inlet = Inlet::new(&frame[..]);
    let read = fetch::receive(&mut inlet, ASKED, version, |answer| {
        for purpose in [Purpose::PassOn(&counts), Purpose::Open] {
            let sieved = sift(answer.records.clone(), 0, &answer.aborted, purpose);
            let ends = sieved.sifted.iter().map(|one| one.end);
            assert!(ends.is_sorted(), "what comes first ends first");
            let mut ready = Ready::new();
            sieved.sifted.into_iter().for_each(|one| ready.push(one));
            take_all(ready);
        }
    });
    // bytes that are there can be read without waiting
    drop(futures_util::FutureExt::now_or_never(read));
}

/// Takes a little at a time.
fn take_all(mut ready: Ready) {
    const FEW: usize = 3;
    let (mut from, mut room) = (0, 1 << 10);
    while !ready.is_empty() {
        match ready.take(from, room, FEW) {
            Ok(taken) => {
                assert!(taken.end >= from && taken.payload.footprint() <= room, "it goes on, within bounds");
                from = taken.end;
            }
            Err(needed) => {
                assert!(needed > room, "it is given what it needs");
                room = needed;
            }
        }
    }
}
