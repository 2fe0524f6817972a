//! Asking whoever is at an address who it is: the one thing that may be said to somebody unknown.

use std::time::Duration;

use meridian_proto::raft as proto;
use tonic::Code;

use super::peer::Peers;

/// For an answer, dialling included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unmet {
    /// It answered that we are in the wrong place. Asking again does not help.
    #[error("{address}: {why}")]
    Refused { address: String, why: String },
    /// Nobody answered, or not in order.
    #[error("{address}: {why}")]
    Silent { address: String, why: String },
}

/// Asks who is there, whatever its id is.
pub(crate) async fn meet(peers: &Peers, address: &str) -> Result<proto::IdentifyResponse, Unmet> {
    let mut client = peers.stranger(None, address);
    let address = address.to_owned();
    match tokio::time::timeout(ANSWER_TIMEOUT, client.identify(proto::IdentifyRequest {})).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
            Err(Unmet::Refused { address, why: status.message().to_owned() })
        }
        Ok(Err(status)) => Err(Unmet::Silent { address, why: status.message().to_owned() }),
        Err(_) => Err(Unmet::Silent { address, why: format!("no answer within {ANSWER_TIMEOUT:?}") }),
    }
}
