//! The gRPC services of one node, over real sockets, on a real log.

#![allow(clippy::unwrap_used)]

mod admin;
mod config;
mod daemon;
mod demands;
mod drain;
mod edge;
mod fleet;
mod freshness;
mod node;
mod statsig;
mod stopping;
