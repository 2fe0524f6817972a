//! Bare gRPC clients: what `meridian-client` would smooth over is what is looked at here.

use meridian_proto::admin::admin_service_client::AdminServiceClient;
use meridian_proto::statsig::statsig_forward_proxy_client::StatsigForwardProxyClient;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

pub(crate) async fn statsig(address: &str) -> StatsigForwardProxyClient<Channel> {
    StatsigForwardProxyClient::new(channel(address).await)
}

pub(crate) async fn admin(address: &str) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(channel(address).await)
}

/// A request with this credential.
pub(crate) fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}
