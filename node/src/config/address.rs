//! `host:port` as another machine reaches it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A host name or IP address with a port above 0. IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

/// Why a text is not an [`Address`].
#[derive(Debug, thiserror::Error)]
#[error("is not host:port: write a host name or IP address, a colon and a port from 1 to 65535")]
pub struct NotAnAddress;

/// Longest host name that DNS allows.
const HOST_BYTES: usize = 253;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let host_is_valid = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
            None => {
                (1..=HOST_BYTES).contains(&host.len())
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            }
        };
        match port.parse::<u16>() {
            Ok(1..) if host_is_valid => Ok(Self(text.to_owned())),
            _ => Err(NotAnAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Address {
    /// The port.
    pub fn port(&self) -> u16 {
        self.0
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .expect("it was parsed when this was made")
    }

    /// Whether it is an address that means "all of my own", which nobody else can dial.
    pub fn is_unspecified(&self) -> bool {
        self.0.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_unspecified())
    }
}
