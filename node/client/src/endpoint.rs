//! Where a node is reached.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use tonic::transport::Uri;

/// Host and port of a node's public gRPC listener, and the region it stands in, where that is known.
///
/// Written `host:port`, `[::1]:port` or `http://host:port`, with the region before it: `eu-west=host:7400`. White space
/// around it is ignored. A host that is a name may stand for several addresses: each is a node of its own.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `host:port`, in lower case.
    authority: Arc<str>,
    region: Option<Arc<str>>,
}

/// Why a text is not an [`Endpoint`]. Quotes at most the beginning of what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// TLS was asked for.
    #[error("{0:?} asks for TLS, which nodes do not speak yet: write host:port or http://host:port")]
    Tls(String),
    /// Not a host and a port.
    #[error("{0:?} is not an endpoint: write host:port, for example 127.0.0.1:7400")]
    Malformed(String),
    /// What stands before the `=` cannot be a region.
    #[error("{0:?} names no region: write region=host:port, for example eu-west=127.0.0.1:7400")]
    Region(String),
}

/// Longest host name of DNS is 253 characters; a port adds 6.
const AUTHORITY_BYTES: usize = 260;

/// Longest name of a region, as DNS labels have it.
const REGION_BYTES: usize = 63;

/// Input that is quoted in an error must not become its size.
const QUOTED_CHARACTERS: usize = 60;

impl Endpoint {
    /// Where the node stands, if that was said.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// `host:port`, without the region.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// As a URI, for the transport.
    pub(crate) fn uri(&self) -> Uri {
        format!("http://{}", self.authority)
            .parse()
            .expect("an authority was parsed out of a URI of this shape")
    }

    /// The address, if the host is one; otherwise it is a name, to be looked up.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.authority.parse().ok()
    }

    /// The host as a resolver takes it, and the port.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        self.authority
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .expect("an authority ends with its port, as parsing checked")
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let quoted = || text.chars().take(QUOTED_CHARACTERS).collect::<String>();
        let malformed = || EndpointError::Malformed(quoted());

        let (region, text) = match text.split_once('=') {
            None => (None, text.trim()),
            Some((region, rest)) => {
                let region = region.trim();
                let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                if region.is_empty() || region.len() > REGION_BYTES || !region.chars().all(is_plain) {
                    return Err(EndpointError::Region(quoted()));
                }
                (Some(region.into()), rest.trim())
            }
        };
        let authority = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some(("https", _)) => return Err(EndpointError::Tls(quoted())),
            Some(_) => return Err(malformed()),
        };
        if authority.len() > AUTHORITY_BYTES {
            return Err(malformed());
        }
        let uri: Uri = format!("http://{authority}").parse().map_err(|_| malformed())?;
        let only_host_and_port =
            uri.path() == "/" && uri.query().is_none() && !authority.contains(['/', '@', '#']);
        let has_port = uri.port_u16().is_some_and(|port| port != 0);
        if only_host_and_port && has_port && uri.host().is_some_and(|host| !host.is_empty()) {
            Ok(Self { authority: authority.to_ascii_lowercase().into(), region })
        } else {
            Err(malformed())
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { authority: address.to_string().into(), region: None }
    }
}

/// As it is parsed.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.region {
            Some(region) => write!(f, "{region}={}", self.authority),
            None => f.write_str(&self.authority),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_and_ports_are_endpoints() {
        for (text, shown) in [
            ("127.0.0.1:7400", "127.0.0.1:7400"),
            ("http://127.0.0.1:7400", "127.0.0.1:7400"),
            ("http://Node.Example:7400/", "node.example:7400"),
            ("[::1]:7400", "[::1]:7400"),
            (" 127.0.0.1:7400\n", "127.0.0.1:7400"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(endpoint.uri().to_string(), format!("http://{shown}/"));
        }
    }

    #[test]
    fn a_region_may_stand_before_it() {
        for (text, region, authority) in [
            ("eu-west=host:7400", Some("eu-west"), "host:7400"),
            (" a = http://[::1]:1/ ", Some("a"), "[::1]:1"),
            ("host:7400", None, "host:7400"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.region(), endpoint.authority()), (region, authority));
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint), "as it is shown");
        }
        let long = format!("{}=host:1", "r".repeat(REGION_BYTES + 1));
        for text in ["=host:1", "a b=host:1", "host:1?a=b", &long] {
            assert!(matches!(text.parse::<Endpoint>(), Err(EndpointError::Region(_))), "{text:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "host",
            ":7400",
            "host:0",
            "host:70000",
            "host:port",
            "user@host:1",
            "host:1/path",
            "host:1?q",
            "host:1#f",
            "ftp://host:1",
            "a b:1",
            "unix:/tmp/socket",
            "nul\0:1",
        ] {
            assert!(matches!(text.parse::<Endpoint>(), Err(EndpointError::Malformed(_))), "{text:?}");
        }
        assert!(matches!("https://host:1".parse::<Endpoint>(), Err(EndpointError::Tls(_))));
    }

    #[test]
    fn a_huge_endpoint_is_refused_with_a_short_text() {
        let error = "x".repeat(10 << 20).parse::<Endpoint>().unwrap_err().to_string();
        assert!(error.len() < 200, "{} bytes", error.len());
    }
}
