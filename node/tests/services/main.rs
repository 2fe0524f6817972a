//! The gRPC services of one node, over real sockets, on a real log.

#![allow(clippy::unwrap_used)]

mod admin;
mod config;
mod edge;
mod node;
mod statsig;
mod stopping;
