//! SDK keys. Their secrets are made by who asks for them, and only pass through.

use meridian_model::credential::admit_secret;
use meridian_model::ids::KeyIdError;
use meridian_model::{KeyId, Mutation, SdkKey};
use meridian_proto::admin::{
    self, CreateKeyRequest, CreateKeyResponse, ListKeysRequest, ListKeysResponse, RevokeKeyRequest,
    RevokeKeyResponse,
};
use prost::Message as _;
use tonic::{Request, Status};

use super::Admin;
use super::change::{Change, text};
use crate::grpc::{ANSWER_BYTES, lookup, status, wire};

impl Admin {
    pub(super) async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<CreateKeyResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let asked = request.into_inner();
        let environment = lookup::environment_name(&asked.project, &asked.environment)?;
        let label = text("label", asked.label)?;
        let (hash, prefix) =
            admit_secret(&asked.secret).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut key = SdkKey { hash, environment, prefix, label, created_at_ms: 0 };
        let mutation = Mutation::CreateKey {
            environment: key.environment.clone(),
            hash,
            prefix: key.prefix.clone(),
            label: key.label.clone(),
        };
        change.commit(&self.handle, mutation).await?;
        // Absent only if this is the repeat of a request whose key was revoked meanwhile.
        if let Some(created) = self.handle.catalog().view().directory.key(&hash) {
            key.created_at_ms = created.created_at_ms;
        }
        Ok(CreateKeyResponse { key: Some(wire::sdk_key(&key)) })
    }

    pub(super) fn list_keys(&self, asked: &ListKeysRequest) -> Result<ListKeysResponse, Status> {
        let view = self.view()?;
        let mut keys: Vec<&SdkKey> = if asked.project.is_empty() && asked.environment.is_empty() {
            view.directory.keys().collect()
        } else {
            let at = lookup::environment_name(&asked.project, &asked.environment)?;
            lookup::environment(&view.directory, &at).map_err(|unknown| status::refusal(&unknown))?;
            view.directory.keys().filter(|key| key.environment == at).collect()
        };
        keys.sort_by(|a, b| (&a.environment, a.created_at_ms).cmp(&(&b.environment, b.created_at_ms)));
        let answer = ListKeysResponse { keys: keys.into_iter().map(wire::sdk_key).collect() };
        if answer.encoded_len() > ANSWER_BYTES {
            return Err(Status::failed_precondition(format!(
                "{} keys are too many for one answer: name a project and an environment",
                answer.keys.len()
            )));
        }
        Ok(answer)
    }

    pub(super) async fn revoke_key(
        &self,
        request: Request<RevokeKeyRequest>,
    ) -> Result<RevokeKeyResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let id: KeyId = request
            .get_ref()
            .id
            .parse()
            .map_err(|error: KeyIdError| Status::invalid_argument(error.to_string()))?;
        // Looked up before it goes: for a repeat it is gone, and the id is all there is to say.
        let view = self.handle.catalog().view();
        let key = view.directory.key_by_id(id).map(wire::sdk_key);
        change.commit(&self.handle, Mutation::RevokeKey { id }).await?;
        let key = key.unwrap_or_else(|| admin::SdkKey { id: id.to_string(), ..Default::default() });
        Ok(RevokeKeyResponse { key: Some(key) })
    }
}
