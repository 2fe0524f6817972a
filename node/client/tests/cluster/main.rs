//! The client against nodes that are scripted, over real sockets.

#![allow(clippy::unwrap_used)]

mod changes;
mod fake;
mod hedging;
mod names;
mod operators;
mod reads;
mod regions;
mod relay;
mod subscriptions;
mod watches;
