//! Proof, from outside: real processes are hurt under load, and what clients were told is held against what the nodes
//! hold afterwards.
//!
//! | module | what it does |
//! |---|---|
//! | [`crash_loop`] | kills nodes with SIGKILL, one at a time |
//! | [`power_loss`] | takes the power from all disks at once |
//! | [`region_loss`] | loses one region after the other while applications read |
//! | [`one_way`] | lets a voter send and not hear |
//! | [`rolling_restart`] | restarts all nodes in turn |
//! | [`failover`] | measures how long nobody can publish when a leader goes |
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
pub mod failover;
mod figures;
pub mod history;
mod judge;
mod load;
mod lookout;
pub mod one_way;
pub mod power_loss;
mod probe;
mod random;
mod readers;
pub mod region_loss;
mod relay;
pub mod rolling_restart;
mod runs;
mod spread;
mod verdict;

pub use runs::{Output, Runs};
pub use verdict::Verdict;
