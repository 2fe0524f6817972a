//! The daemon: the only place where all parts meet.
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | what the daemon is told |
//! | [`serve`], [`supervisor`] | composition: what starts and stops in which order, and who watches |
//! | [`grpc`], [`http`] | the listeners |
//! | [`auth`], [`token`], [`render`] | who is asking, and what they are shown |
//! | [`stamp`], [`demand`] | what an answer rests on, and what a reader wants proved |
//! | [`service`] | whether this node is in service, and how it lets go of its streams |
//! | [`health`], [`metrics`], [`telemetry`] | what the node says about itself |
//! | [`backup`], [`restore`], [`recover`] | copies of the whole, and life after a loss |
//! | [`dev`] | a whole cluster on one machine |
//! | [`bench`] | measures a cluster from outside |

#![forbid(unsafe_code)]

pub mod auth;
pub mod backup;
pub mod bench;
pub mod config;
pub mod demand;
pub mod dev;
pub mod grpc;
pub mod health;
pub mod http;
pub mod metrics;
pub mod recover;
pub mod render;
pub mod restore;
pub mod serve;
pub mod service;
pub mod stamp;
pub mod supervisor;
pub mod telemetry;
pub mod token;
