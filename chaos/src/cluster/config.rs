//! The configuration file of a node, written by hand: it is the operator's interface, and so under test.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Listen, REGIONS, id};

/// What the node at `index` is told.
pub(super) fn text(index: usize, listens: &[Listen], data_dir: &Path, operator_token: &str) -> String {
    let Listen { grpc, peer, http, admin } = &listens[index];
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
    for (index, listen) in listens.iter().enumerate() {
        write!(
            text,
            r#"
[[founders]]
node_id = {}
region = "{}"
zone = "a"
peer = "{}"
grpc = "{}"
"#,
            id(index),
            REGIONS[index],
            listen.peer,
            listen.grpc
        )
        .expect("writing to a string does not fail");
    }
    text
}
