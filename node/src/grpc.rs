//! The public gRPC listener: the native API, Statsig's façade, health and reflection, on one port.
//!
//! | file | subject |
//! |---|---|
//! | `config`, `statsig` | what SDKs and proxies speak |
//! | `admin` | what operators speak |
//! | `watch`, `streams` | what all config streams have in common, and how many there may be |
//! | `access`, `lookup` | who may read what, and the things that requests name |
//! | `status`, `wire` | refusals and the model, as the contracts show them |
//! | `observe`, `metrics`, `accept` | around every call |

use std::sync::Arc;
use std::time::Duration;

use meridian_proto::admin::admin_service_server::{self, AdminServiceServer};
use meridian_proto::config::config_service_server::{self, ConfigServiceServer};
use meridian_proto::statsig::statsig_forward_proxy_server::{self, StatsigForwardProxyServer};
use meridian_replication::Handle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

use crate::auth::Auth;
use crate::demand::Prover;
use crate::render::cache::Renderings;
use crate::service::Service;
use crate::stamp::Stamper;

mod accept;
mod access;
mod admin;
mod config;
mod lookup;
mod metrics;
mod observe;
mod statsig;
mod status;
mod streams;
#[cfg(test)]
mod testing;
mod watch;
mod wire;

pub use metrics::Metrics;

/// What the listener serves from.
#[derive(Clone)]
pub struct Services {
    /// The replicated state.
    pub handle: Handle,
    /// Who is asking.
    pub auth: Arc<Auth>,
    /// Shared with the other listeners.
    pub renderings: Renderings,
    /// What answers are stamped with.
    pub stamper: Stamper,
    /// Proves what readers demand.
    pub prover: Prover,
    /// Whether readers are served.
    pub service: Service,
    /// Told by the daemon whether this node serves.
    pub health: HealthReporter,
    /// What is counted.
    pub metrics: Metrics,
    /// Cancelled when the listener shall close: what still streams ends with `UNAVAILABLE`.
    pub stopping: CancellationToken,
}

/// Why the listener could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The contracts built into this program are broken.
    #[error("describing the grpc services")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// See [`Error::Reflection`].
    #[error("reading the descriptions of the grpc services")]
    Descriptors(#[from] prost::DecodeError),
    /// The server failed.
    #[error("serving grpc")]
    Transport(#[from] tonic::transport::Error),
}

/// Largest message that the operators' API takes: the largest document, and room to say by how much one is larger.
const ADMIN_REQUEST_BYTES: usize = 8 << 20;

/// Largest message that SDKs, and whoever asks without a credential, may send: a few names and a key.
const SDK_REQUEST_BYTES: usize = 16 << 10;

/// Largest answer: clients take no more. The largest document and its release fit.
const ANSWER_BYTES: usize = 4 << 20;

/// Metadata of one request: a credential and what proxies on the way add.
const HEADER_LIST_BYTES: u32 = 16 << 10;

/// Calls on one connection at a time. Proxies bundle the streams of many clients; past it they wait on their side.
const STREAMS_PER_CONNECTION: u32 = 4_096;

/// Finds clients that vanished, and keeps the way to the others open. Most clients do not ping by themselves.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(25);
/// See [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long calls that are being worked on, and clients that do not read, may hold up a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What this port offers, and what reflection lists. The descriptors hold the peers' contract too, which is spoken
/// elsewhere.
const OFFERED: [&str; 5] = [
    config_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
    statsig_forward_proxy_server::SERVICE_NAME,
    health_server::SERVICE_NAME,
    "grpc.reflection.v1.ServerReflection",
];

/// Serves until `stopping` is cancelled and the connections have ended; those that do not are left behind after five
/// seconds.
pub async fn serve(listener: TcpListener, services: Services) -> Result<(), Error> {
    let Services { handle, auth, renderings, stamper, prover, service, health, metrics, stopping } = services;
    let access = access::Access { handle: handle.clone(), auth: auth.clone(), service, stamper, prover };
    let streams = streams::Streams::new(metrics.clone());

    let config = ConfigServiceServer::new(config::Config {
        access: access.clone(),
        renderings: renderings.clone(),
        streams: streams.clone(),
    });
    let statsig =
        StatsigForwardProxyServer::new(statsig::Statsig { access: access.clone(), renderings, streams });
    let admin = AdminServiceServer::new(admin::Admin::new(handle, access))
        .max_decoding_message_size(ADMIN_REQUEST_BYTES)
        .max_encoding_message_size(ANSWER_BYTES);

    let descriptor_sets = [meridian_proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let mut reflection = tonic_reflection::server::Builder::configure();
    for encoded in descriptor_sets {
        reflection = reflection.register_encoded_file_descriptor_set(encoded);
    }
    for service in OFFERED {
        reflection = reflection.with_service_name(service);
    }
    let methods = observe::Methods::of(&OFFERED, &descriptor_sets)?;

    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .layer(observe::Observe::new(metrics, stopping.clone(), methods))
        .add_service(
            config.max_decoding_message_size(SDK_REQUEST_BYTES).max_encoding_message_size(ANSWER_BYTES),
        )
        .add_service(
            statsig.max_decoding_message_size(SDK_REQUEST_BYTES).max_encoding_message_size(ANSWER_BYTES),
        )
        // Before the body is read: nobody else gets eight megabytes of memory for the asking.
        .add_service(InterceptedService::new(admin, admin::OperatorsOnly::new(auth)))
        .add_service(
            HealthServer::new(HealthService::from_health_reporter(health))
                .max_decoding_message_size(SDK_REQUEST_BYTES),
        )
        .add_service(reflection.build_v1()?.max_decoding_message_size(SDK_REQUEST_BYTES))
        .serve_with_incoming_shutdown(accept::connections(listener), stopping.clone().cancelled_owned());

    let overdue = async {
        stopping.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server => served?,
        () = overdue => tracing::warn!("some grpc clients did not let go of their connections in time"),
    }
    Ok(())
}
