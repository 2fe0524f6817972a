//! Every byte that leaves a process. No logic lives here: conversions belong to the crate that owns the meaning.
//!
//! | module | contract | spoken with |
//! |---|---|---|
//! | [`config`] | native fetch and watch | SDKs, proxies |
//! | [`admin`] | projects, environments, keys, publishing, status | operators |
//! | [`raft`] | peer RPC, log entries, stored rows | other nodes, the disk |
//! | [`statsig`] | Statsig's forward proxy, vendored | unmodified Statsig SDKs |

#![forbid(unsafe_code)]

pub use meridian::admin::v1 as admin;
pub use meridian::config::v1 as config;
pub use meridian::raft::v1 as raft;

/// Generated code carries no docs of its own; the `.proto` files do.
macro_rules! generated {
    ($package:literal) => {
        tonic::include_proto!($package);
    };
}

#[allow(missing_docs, unreachable_pub, clippy::all)] // generated
/// The packages, nested as their names say, because generated code refers to its siblings by `super`.
mod meridian {
    pub mod config {
        pub mod v1 {
            generated!("meridian.config.v1");
        }
    }
    pub mod admin {
        pub mod v1 {
            generated!("meridian.admin.v1");
        }
    }
    pub mod raft {
        pub mod v1 {
            generated!("meridian.raft.v1");
        }
    }
}

#[allow(missing_docs, unreachable_pub, clippy::all)] // generated
/// `statsig_forward_proxy`: Statsig's contract, vendored.
pub mod statsig {
    generated!("statsig_forward_proxy");
}

/// The serialized `FileDescriptorSet` of all contracts, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
