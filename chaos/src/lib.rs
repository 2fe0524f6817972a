//! Proof, from outside: real processes are hurt under load, and what clients were told is held against what the nodes
//! hold afterwards.
//!
//! | module | what it does |
//! |---|---|
//! | [`crash_loop`] | kills nodes with SIGKILL, one at a time |
//! | [`power_loss`] | takes the power from all disks at once |
//! | [`bench`] | measures publishing beside etcd, in turn |
//! | [`check`] | judges a history; pure |
//! | [`digests`] | compares state digests; pure |
//!
//! Black box: it knows the contract and the client, and nothing of how nodes agree.

pub mod bench;
pub mod check;
mod cluster;
pub mod crash_loop;
pub mod digests;
mod document;
mod ending;
pub mod history;
mod judge;
mod load;
mod lookout;
pub mod power_loss;
mod random;
mod runs;
mod spread;
mod verdict;

pub use runs::{Output, Runs};
pub use verdict::Verdict;
