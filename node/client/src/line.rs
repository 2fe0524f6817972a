//! An open connection, ready for requests.

use meridian_proto::admin::admin_service_client::AdminServiceClient;
use meridian_proto::config::config_service_client::ConfigServiceClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::peer::Connection;

/// Largest message taken in: a document is at most 4.2 MB, a page of 1,000 releases with messages of 1 KB is 2 MB.
const MESSAGE_BYTES: usize = 16 << 20;

/// A connection to a node and the credential that goes with each request on it.
pub(crate) struct Line {
    pub(crate) connection: Connection,
    pub(crate) authorization: Option<MetadataValue<Ascii>>,
}

impl Line {
    pub(crate) fn admin(self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.connection.channel).max_decoding_message_size(MESSAGE_BYTES)
    }

    pub(crate) fn config(self) -> ConfigServiceClient<Channel> {
        ConfigServiceClient::new(self.connection.channel).max_decoding_message_size(MESSAGE_BYTES)
    }

    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}
