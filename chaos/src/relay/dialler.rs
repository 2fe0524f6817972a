//! Who dialled: on loopback every node has the same address, so the kernel is asked which process owns the socket.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The process of each node, by index, while it runs.
#[derive(Debug, Default)]
pub(crate) struct Processes(Mutex<Vec<Option<u32>>>);

impl Processes {
    /// Notes the process of a node, or that there is none.
    pub(crate) fn set(&self, node: usize, pid: Option<u32>) {
        let mut pids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pids.len() <= node {
            pids.resize(node + 1, None);
        }
        pids[node] = pid;
    }

    /// The node that opened the connection between these two ends. `None` if that is none, or it is gone.
    pub(super) fn node_at(&self, dialler: SocketAddr, dialled: SocketAddr) -> Option<usize> {
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let socket = format!("socket:[{}]", inode(&table, dialler, dialled)?);
        let pids = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pids.iter().position(|pid| pid.is_some_and(|pid| owns(pid, &socket)))
    }
}

/// The inode of the socket with these ends, in the kernel's table: a line for each, with both addresses in hexadecimal.
fn inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    let (local, remote) = (port(local), port(remote));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        if !fields.next()?.ends_with(&local) || !fields.next()?.ends_with(&remote) {
            return None;
        }
        fields.nth(6)?.parse().ok()
    })
}

fn owns(pid: u32, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_process_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ends = (dialled.local_addr().unwrap(), dialled.peer_addr().unwrap());
        let processes = Processes::default();
        processes.set(1, Some(std::process::id()));
        assert_eq!(processes.node_at(ends.0, ends.1), Some(1));
        processes.set(1, None);
        assert_eq!(processes.node_at(ends.0, ends.1), None);
    }
}
