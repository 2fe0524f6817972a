//! Reaches a Meridian cluster from outside, through whichever node can answer.
//!
//! **Reads** go to the endpoints in order until one gives a definite answer. **Changes** follow the leader: one
//! request id and one deadline span all attempts, so that a repeat has at most one effect. **Watches** reconnect by
//! themselves and never step back to a lower version.
//!
//! What is guaranteed of a change: `Ok` means that it is committed; [`Error::Unavailable`] that nothing was done;
//! [`Error::Unknown`] that it may have been, and names the request id under which it may be repeated safely.
//! Every other error is the cluster's definite answer.
//!
//! Left to others: what a config means, and what to tell an operator (`meridian-ctl`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use meridian_client::{Client, Fetched, Options, proto::config::GetConfigRequest};
//!
//! let endpoints = ["eu1.example:7400".parse()?, "us1.example:7400".parse()?];
//! let client = Client::new(Options { token: Some("sdk-…".into()), ..Options::new(endpoints) })?;
//! if let Fetched::Config(config) = client.get_config(GetConfigRequest::default()).await? {
//!     println!("version {}: {} bytes", config.release.version, config.document.len());
//! }
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

mod answer;
mod backoff;
mod call;
mod client;
mod endpoint;
mod error;
mod line;
mod options;
mod pool;
mod secret;
mod verdict;
mod watch;

pub use answer::{Config, Fetched, Published, StoredRelease};
pub use client::Client;
pub use endpoint::{Endpoint, EndpointError};
pub use error::Error;
pub use meridian_proto as proto;
pub use options::Options;
pub use secret::Secret;
pub use watch::{Event, Watch};
