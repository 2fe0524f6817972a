//! The real binary, from outside: real processes, real disks, real ports of loopback.
//!
//! | module | shows |
//! |---|---|
//! | `publish_and_read` | what an operator does, in both forms of output |
//! | `statsig` | what an unmodified Statsig SDK gets |
//! | `failover` | the leader killed: writes come back, reads never stop, the lost node catches up |
//! | `restart` | planned stops, a node alone, data directories that are not what they should be |
//! | `bad_input` | a clear error for each kind, nothing applied in part, and a node that goes on |
//! | `dev` | `meridian dev` itself |
//!
//! One program, since each links the whole daemon. Tests run in parallel and share nothing but [`support::shared`].

#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout)] // measurements, shown with --nocapture

mod bad_input;
mod dev;
mod failover;
mod publish_and_read;
mod restart;
mod statsig;
mod support;
