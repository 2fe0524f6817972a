//! The client against nodes that are scripted, over real sockets.

#![allow(clippy::unwrap_used)]

mod changes;
mod fake;
mod reads;
mod watches;
