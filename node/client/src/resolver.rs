//! How the names of endpoints become addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;

type Lookup = dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Looks names up. The default asks the operating system; another one serves where names come from elsewhere, such as
/// a service registry or a simulation.
#[derive(Clone)]
pub struct Resolver(Arc<Lookup>);

impl Resolver {
    /// Looks a host and its port up with `lookup`. Each name is asked for at most once at a time, about every 30 s
    /// while it is in use, and at most once a second while its addresses fail.
    pub fn new<F, Fut>(lookup: F) -> Self
    where
        F: Fn(String, u16) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |host, port| Box::pin(lookup(host, port))))
    }

    pub(crate) async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (self.0)(host.to_owned(), port).await
    }
}

/// The operating system's.
impl Default for Resolver {
    fn default() -> Self {
        Self::new(
            |host, port| async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) },
        )
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
