//! `anabranch demo`: three regions inside this process, one of which breaks and heals, and the proof that all arrived.

pub mod proof;
pub mod regions;
pub mod screen;
