//! Who calls whom. Every call between peers carries it in its metadata, and is refused before its body is looked at
//! when it came to the wrong cluster, node or incarnation.

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const CLUSTER: &str = "meridian-cluster-bin";
const GROUP: &str = "meridian-group";
const FROM: &str = "meridian-from";
const FROM_INCARNATION: &str = "meridian-from-incarnation";
const TO: &str = "meridian-to";
const TO_INCARNATION: &str = "meridian-to-incarnation";

/// There is one Raft group. It has a number from the first day, so that there may be more.
pub(crate) const GROUP_ID: u64 = 1;

/// This node's side of every call.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) cluster_id: String,
    pub(crate) node_id: u64,
    pub(crate) incarnation: [u8; 16],
}

/// The caller, as a receiver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) node_id: u64,
    pub(crate) incarnation: [u8; 16],
    /// Whether the caller knew this node's id. Only asking who one is needs no knowledge.
    pub(crate) names_us: bool,
    /// Whether the caller knew this node's incarnation too. Only a stranger who wants in need not.
    pub(crate) knows_us: bool,
}

/// Stamps outgoing calls to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    cluster_id: MetadataValue<tonic::metadata::Binary>,
    texts: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
}

impl Stamp {
    /// For calls from this node to that one. Without an incarnation only `Identify` and `Join` will be answered; without
    /// an id, only `Identify`.
    pub(crate) fn new(home: &Home, to: Option<u64>, to_incarnation: Option<[u8; 16]>) -> Self {
        let mut texts = vec![
            (GROUP, GROUP_ID.to_string()),
            (FROM, home.node_id.to_string()),
            (FROM_INCARNATION, hex::encode(home.incarnation)),
        ];
        texts.extend(to.map(|to| (TO, to.to_string())));
        texts.extend(to_incarnation.map(|incarnation| (TO_INCARNATION, hex::encode(incarnation))));
        let texts = texts
            .into_iter()
            .map(|(key, text)| {
                let value = text.parse().expect("digits are ASCII");
                (MetadataKey::from_static(key), value)
            })
            .collect();
        Self { cluster_id: MetadataValue::from_bytes(home.cluster_id.as_bytes()), texts }
    }
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert_bin(CLUSTER, self.cluster_id.clone());
        for (key, value) in &self.texts {
            metadata.insert(key.clone(), value.clone());
        }
        Ok(request)
    }
}

/// Checks incoming calls and leaves the [`Caller`] in their extensions.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    home: Home,
}

impl Control {
    pub(crate) fn new(home: Home) -> Self {
        Self { home }
    }

    fn check(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        let cluster = metadata.get_bin(CLUSTER).and_then(|value| value.to_bytes().ok());
        let Some(cluster) = cluster else {
            return Err(Status::invalid_argument(
                "this is the peer port: clients belong on the public gRPC port",
            ));
        };
        let home = &self.home;
        if cluster != home.cluster_id {
            return Err(Status::failed_precondition(format!(
                "node {} belongs to cluster {:?}, the caller to {:?}: check `cluster_id` and the peer addresses",
                home.node_id,
                home.cluster_id,
                String::from_utf8_lossy(&cluster[..cluster.len().min(64)]),
            )));
        }
        if number(metadata, GROUP)? != GROUP_ID {
            return Err(Status::failed_precondition("unknown raft group"));
        }
        let named = metadata.contains_key(TO);
        if named {
            let to = number(metadata, TO)?;
            if to != home.node_id {
                return Err(Status::failed_precondition(format!(
                    "this is node {}, not node {to}: check the peer addresses",
                    home.node_id
                )));
            }
        }
        let knows_us = match metadata.get(TO_INCARNATION) {
            None => false,
            Some(value) if value.as_bytes() == hex::encode(home.incarnation).as_bytes() => named,
            Some(_) => {
                return Err(Status::failed_precondition(format!(
                    "node {} was known with another data directory: its disk was wiped or replaced",
                    home.node_id
                )));
            }
        };
        let mut incarnation = [0; 16];
        let text = metadata.get(FROM_INCARNATION).map(|value| value.as_bytes()).unwrap_or_default();
        hex::decode_to_slice(text, &mut incarnation).map_err(|_| malformed(FROM_INCARNATION))?;
        Ok(Caller { node_id: number(metadata, FROM)?, incarnation, names_us: named, knows_us })
    }
}

impl Interceptor for Control {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.check(request.metadata())?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

fn number(metadata: &MetadataMap, key: &'static str) -> Result<u64, Status> {
    let text = metadata.get(key).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| malformed(key))
}

fn malformed(key: &str) -> Status {
    Status::invalid_argument(format!("peer metadata {key} is missing or malformed"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn home(cluster_id: &str, node_id: u64, incarnation: u8) -> Home {
        Home { cluster_id: cluster_id.to_owned(), node_id, incarnation: [incarnation; 16] }
    }

    /// What node 2 of cluster `c`, incarnation 2, says to a call.
    fn check(from: Home, to: Option<u64>, to_incarnation: Option<[u8; 16]>) -> Result<Caller, String> {
        let request = Stamp::new(&from, to, to_incarnation).call(Request::new(())).unwrap();
        let admitted = Control::new(home("c", 2, 2)).call(request).map_err(|s| s.message().to_owned())?;
        Ok(*admitted.extensions().get::<Caller>().unwrap())
    }

    #[test]
    fn only_the_right_cluster_node_and_incarnation_is_let_in() {
        let caller = Caller { node_id: 1, incarnation: [1; 16], names_us: true, knows_us: true };
        assert_eq!(check(home("c", 1, 1), Some(2), Some([2; 16])), Ok(caller));
        assert_eq!(check(home("c", 1, 1), Some(2), None), Ok(Caller { knows_us: false, ..caller }));
        let lost = Caller { names_us: false, knows_us: false, ..caller };
        assert_eq!(check(home("c", 1, 1), None, None), Ok(lost));
        assert_eq!(
            check(home("c", 1, 1), None, Some([2; 16])),
            Ok(lost),
            "an incarnation alone opens nothing"
        );
        assert!(check(home("other\n", 1, 1), Some(2), None).unwrap_err().contains("\"other\\n\""));
        assert!(check(home("other", 1, 1), None, None).unwrap_err().contains("\"other\""));
        assert!(check(home("c", 1, 1), Some(3), None).unwrap_err().contains("this is node 2, not node 3"));
        assert!(check(home("c", 1, 1), Some(2), Some([9; 16])).unwrap_err().contains("wiped"));
    }

    #[test]
    fn a_call_without_a_passport_is_sent_to_the_right_port() {
        let refused = Control::new(home("c", 2, 2)).call(Request::new(())).unwrap_err();
        assert!(refused.message().contains("public gRPC port"));
    }
}
