//! A release as one protocol's clients receive it.
//!
//! Rendering is a pure function from the published bytes to the bytes on the wire, done once per release and
//! shared by all streams. It is deterministic: the same release is the same text on every node.
//!
//! The shapes of foreign protocols live here, one file each, and nowhere else but in the `grpc` file that serves
//! them and in the rules of `meridian_model::validate`. The native API serves the published bytes and needs no
//! file.

pub mod cache;
pub mod statsig;
