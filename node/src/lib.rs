//! The daemon: the only place where all parts meet.
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | what the daemon is told |
//! | [`serve`], [`supervisor`] | composition: what starts and stops in which order, and who watches |
//! | [`grpc`], [`http`] | the listeners |
//! | [`auth`], [`token`], [`render`] | who is asking, and what they are shown |
//! | [`health`], [`metrics`], [`telemetry`] | what the node says about itself |
//! | [`dev`] | a whole cluster on one machine |
//! | [`bench`] | measures a cluster from outside |

#![forbid(unsafe_code)]

pub mod auth;
pub mod bench;
pub mod config;
pub mod dev;
pub mod grpc;
pub mod health;
pub mod http;
pub mod metrics;
pub mod render;
pub mod serve;
pub mod supervisor;
pub mod telemetry;
pub mod token;
