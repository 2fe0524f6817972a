//! The real binary, from outside: real processes, real disks, real ports of loopback.
//!
//! | module | shows |
//! |---|---|
//! | `publish_and_read` | what an operator does, in both forms of output |
//! | `statsig` | what an unmodified Statsig SDK gets |
//! | `failover` | the leader killed: writes come back, reads never stop, the lost node catches up |
//! | `regions` | one of five drained, two lost, the quorum lost, healed: who reads notices nothing, `status` tells the truth |
//! | `members` | nodes that join, are promoted, are removed, are refused |
//! | `clock` | a clock that jumps by an hour either way |
//! | `restart` | planned stops, a node alone, data directories that are not what they should be |
//! | `recovery` | a majority lost, or everything but a backup |
//! | `bad_input` | a clear error for each kind, nothing applied in part, and a node that goes on |
//! | `dev` | `meridian dev` itself |
//!
//! One program, since each links the whole daemon. Tests run in parallel and share nothing but [`support::shared`].

#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout)] // measurements, shown with --nocapture

mod bad_input;
mod clock;
mod dev;
mod failover;
mod members;
mod publish_and_read;
mod recovery;
mod regions;
mod restart;
mod statsig;
mod support;
