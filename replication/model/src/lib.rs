//! What a project config is, and how a command changes it.
//!
//! This crate is pure: no I/O, no async, no clock, no randomness. Raft replicates it, gRPC shows it, neither
//! defines it. Time enters as data, in the commands.
//!
//! | module | subject |
//! |---|---|
//! | [`ids`] | names, versions, digests: types that cannot be wrong |
//! | [`document`] | the bytes of a config, sealed for the log and the disk |
//! | [`validate`] | what each format demands of a document |
//! | [`release`], [`project`], [`credential`], [`fleet`] | what the state is made of |
//! | [`command`], [`outcome`] | what can be asked, and what is answered |
//! | [`state`] | `State::apply`: the only mutation in the system |
//! | [`row`], [`snapshot`] | the state as stored rows, and its digest |
//! | [`wire`] | model ↔ protobuf |

#![forbid(unsafe_code)]

pub mod command;
pub mod credential;
pub mod document;
pub mod fleet;
pub mod ids;
pub mod limits;
pub mod outcome;
pub mod project;
pub mod release;
pub mod row;
pub mod snapshot;
pub mod state;
pub mod validate;
pub mod wire;

pub use command::{Command, Mutation};
pub use credential::SdkKey;
pub use document::{Document, Format};
pub use fleet::{Event, Fleet, NodeId, Placement};
pub use ids::{Digest, EnvironmentRef, KeyHash, KeyId, Name, RequestId, Version};
pub use outcome::{Outcome, Refusal};
pub use project::{Environment, Project};
pub use release::Release;
pub use state::State;
