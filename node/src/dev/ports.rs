//! Which ports the regions of a development cluster listen on, all of them on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Region number `i` has the four ports from `base + 10 * i` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    base: u16,
    regions: usize,
}

/// The listeners of one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// SDKs, proxies, operators.
    pub grpc: SocketAddr,
    /// The other nodes.
    pub peer: SocketAddr,
    /// Config over HTTP.
    pub http: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// Why the ports cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The last ones would lie above 65535.
    #[error("{regions} regions do not fit above port {base}: choose a lower --base-port")]
    TooHigh {
        /// The first port.
        base: u16,
        /// How many regions there are.
        regions: usize,
    },
    /// Something else listens there, or this user may not.
    #[error(
        "cannot listen on {address}: {source}; stop whatever uses that port, or choose others with --base-port N, or \
         --base-port 0 for free ones"
    )]
    Taken {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing but taken ports was found.
    #[error("no block of free ports was found: choose one with --base-port N")]
    NoneFree,
}

const STEP: u16 = 10;

/// Where free ports are looked for: below the range from which systems take the local ports of outgoing
/// connections, so that a port stays free while a node restarts.
const SEARCHED: std::ops::Range<u16> = 10_240..30_000;

/// A block is free unless something happens to sit in it; that many misses in a row are not chance.
const TRIES: usize = 64;

impl Ports {
    /// The ports from `base` on.
    pub fn new(base: u16, regions: usize) -> Result<Self, Error> {
        let last = usize::from(base) + usize::from(STEP) * regions;
        if base == 0 || last > usize::from(u16::MAX) {
            return Err(Error::TooHigh { base, regions });
        }
        Ok(Self { base, regions })
    }

    /// Ports that nobody uses now, at a random place, so that several clusters can start at once.
    pub fn free(regions: usize) -> Result<Self, Error> {
        let span = u16::try_from(regions).ok().and_then(|count| STEP.checked_mul(count)).unwrap_or(u16::MAX);
        let blocks = ((SEARCHED.end - SEARCHED.start) / span.max(1)).max(1);
        for _ in 0..TRIES {
            let random = getrandom::u32().map_err(|_| Error::NoneFree)?;
            let block = u16::try_from(random % u32::from(blocks)).expect("below a u16");
            let ports = Self::new(SEARCHED.start + block * span, regions)?;
            if ports.check_free().is_ok() {
                return Ok(ports);
            }
        }
        Err(Error::NoneFree)
    }

    /// The first port.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// The listeners of region number `index`.
    pub fn of_region(&self, index: usize) -> Listen {
        assert!(index < self.regions, "region {index} of {}", self.regions);
        let first = usize::from(self.base) + usize::from(STEP) * index;
        let at = |offset: usize| {
            let port = u16::try_from(first + offset).expect("checked when the ports were made");
            SocketAddr::from((Ipv4Addr::LOCALHOST, port))
        };
        Listen { grpc: at(0), peer: at(1), http: at(2), admin: at(3) }
    }

    /// Whether each of them can be listened on, now.
    pub fn check_free(&self) -> Result<(), Error> {
        for index in 0..self.regions {
            for address in self.of_region(index).all() {
                TcpListener::bind(address).map_err(|source| Error::Taken { address, source })?;
            }
        }
        Ok(())
    }
}

impl Listen {
    /// In the order of the ports.
    pub fn all(&self) -> [SocketAddr; 4] {
        [self.grpc, self.peer, self.http, self.admin]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn regions_are_ten_apart() {
        let ports = Ports::new(7400, 3).unwrap();
        let of = |index| ports.of_region(index).all().map(|address| address.port());
        assert_eq!(of(0), [7400, 7401, 7402, 7403]);
        assert_eq!(of(2), [7420, 7421, 7422, 7423]);
    }

    #[test]
    fn ports_above_the_last_one_are_refused() {
        assert!(Ports::new(65_505, 3).is_ok());
        assert!(matches!(Ports::new(65_506, 3), Err(Error::TooHigh { .. })));
        assert!(matches!(Ports::new(0, 1), Err(Error::TooHigh { .. })));
    }

    #[test]
    fn a_taken_port_is_named() {
        let ports = Ports::free(3).unwrap();
        ports.check_free().unwrap();
        let taken = ports.of_region(1).admin;
        let _held = TcpListener::bind(taken).unwrap();
        let error = ports.check_free().unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("--base-port"), "{error}");
    }
}
