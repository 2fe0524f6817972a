//! Reaches a Meridian cluster from outside, through whichever node can answer.
//!
//! # An application that reads its config
//!
//! Say where the nodes are and which region is your own, then subscribe. Everything else goes on in the background:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use meridian_client::{Client, Options, subscription::Source};
//!
//! let endpoints = ["eu-west=eu1.example:7400", "eu-west=eu2.example:7400", "us-east=us.example:7400"];
//! let endpoints: Vec<_> = endpoints.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
//! let client = Client::new(Options {
//!     region: Some("eu-west".to_owned()),
//!     token: Some("sdk-…".into()),
//!     ..Options::new(endpoints)
//! })?;
//!
//! let (config, source) = client.subscribe("shop", "live").cache_file("/var/cache/shop/config").init().await;
//! match source {
//!     Source::Live => {}
//!     Source::Cached => println!("no node answers: starting with what the last run had"),
//!     Source::Defaults => println!("no node answers, and there is no cache: starting with the defaults"),
//! }
//! let timeout_ms = config.get_or("checkout.timeout_ms", 800); // takes no lock, never waits
//! # let _: u64 = timeout_ms; Ok(()) }
//! ```
//!
//! [`Subscription`] says what it guarantees, and how to hear of changes. `examples/keep_reading.rs` is a whole program.
//!
//! # One read at a time
//!
//! [`Client::reader`] sends a request for each read and never falls back to a lower version; [`Client::get_config`] is
//! the bare call. Both take a [`Demand`](proto::config::Demand) where an answer must prove how fresh it is: to read
//! what was just published, demand its version.
//!
//! ```no_run
//! # async fn example(client: meridian_client::Client) -> Result<(), meridian_client::Error> {
//! use meridian_client::proto::{admin::PublishRequest, config::Demand};
//!
//! let published = client.publish(PublishRequest::default()).await?;
//! let demand = Demand { at_least_version: published.release.version, ..Demand::default() };
//! let config = client.reader("shop", "live").demand(demand).read().await?;
//! assert!(config.release.version >= published.release.version);
//! # Ok(()) }
//! ```
//!
//! # What happens when nodes are lost
//!
//! | what | how it is noticed | what follows |
//! |---|---|---|
//! | a process dies | its connections break | reads and watches go on at the next node at once |
//! | a network falls silent | nothing comes back for three times the usual latency | new reads go elsewhere at once; the connection is given up within 0.9 s ([`Keepalive`]) |
//! | one answer is slow | it takes longer than 95 of 100 others | another region is asked as well, within the budget below |
//! | a node does not serve | it says so | it is asked last, tried again after 0.25 to 10 s ([`Circuit`]) |
//! | a name's addresses change | it is looked up every 30 s, and when its nodes fail | new nodes are used, old ones forgotten |
//! | a preferred region returns | reads try it again; watches look for it about every 20 s | they move back |
//! | everything fails | each endpoint is tried | [`Error::Unavailable`] names each with its reason; second attempts stay within 10 % of the reads (hedges), and 20 % and a burst (retries; ten a second at least) |
//!
//! # Changes
//!
//! Changes follow the leader: one request id and one deadline span all attempts, so that a repeat has at most one
//! effect. `Ok` means that it is committed; [`Error::Unavailable`] that nothing was done; [`Error::Unknown`] that it may
//! have been, and names the request id under which it may be repeated safely, or asked for with [`Client::outcome`].
//! Every other error is the cluster's definite answer.
//!
//! Left to others: what a config means, and what to tell an operator (`meridian-ctl`).

#![forbid(unsafe_code)]

mod answer;
mod backoff;
mod backup;
mod budget;
mod cache;
mod call;
mod catalog;
mod change;
mod client;
mod cluster;
mod endpoint;
mod error;
mod health;
mod latency;
mod line;
mod options;
mod peer;
mod pool;
mod read;
mod reader;
mod resolver;
mod secret;
mod site;
pub mod subscription;
mod verdict;
mod watch;

pub use answer::{Config, Fetched, Outcome, Published, StoredRelease};
pub use backup::Backup;
pub use client::{Client, Counts, NodeHealth};
pub use endpoint::{Endpoint, EndpointError};
pub use error::Error;
pub use health::Circuit;
pub use meridian_proto as proto;
pub use options::{Keepalive, Options};
pub use reader::Reader;
pub use resolver::Resolver;
pub use secret::Secret;
pub use subscription::Subscription;
pub use watch::{Event, Watch};
