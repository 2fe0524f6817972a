//! The configuration file of a node, written by hand: it is the operator's interface, and so under test.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Listen, REGIONS, Reached, Shape, id};

/// What the node at `index` is told.
pub(super) fn text(
    index: usize,
    listen: &Listen,
    reached: &[Reached],
    data_dir: &Path,
    operator_token: &str,
    shape: &Shape,
) -> String {
    let Listen { grpc, peer, http, admin } = listen;
    let mut text = format!(
        r#"cluster_id = "chaos"
node_id = {}
region = "{}"
zone = "a"
data_dir = "{}"

[listen]
grpc = "{grpc}"
peer = "{peer}"
http = "{http}"
admin = "{admin}"

[auth]
operator_token_sha256 = ["{}"]
"#,
        id(index),
        REGIONS[index],
        data_dir.display(),
        hex::encode(Sha256::digest(operator_token)),
    );
    if let Some(profile) = shape.profile {
        write!(text, "\n[raft]\nprofile = \"{profile}\"\n").expect("writing to a string does not fail");
    }
    for (index, Reached { peer, grpc }) in reached.iter().enumerate() {
        write!(
            text,
            r#"
[[founders]]
node_id = {}
region = "{}"
zone = "a"
peer = "{peer}"
grpc = "{grpc}"
"#,
            id(index),
            REGIONS[index],
        )
        .expect("writing to a string does not fail");
    }
    text
}
