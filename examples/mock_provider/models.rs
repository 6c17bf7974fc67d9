//! `GET /v1/models`: a list in OpenAI's format of the names given on the command line.

use bytes::Bytes;
use serde_json::json;

use crate::answer::Answer;
use crate::chat::CREATED;
use crate::endpoints::Call;
use crate::error::MockError;

/// Answers with the list.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    Ok(Answer::Whole(call.mock.models.clone()))
}

/// Builds the list once, for all requests.
pub(crate) fn list(names: &[String]) -> Bytes {
    let models: Vec<_> = names
        .iter()
        .map(|name| json!({"id": name, "object": "model", "created": CREATED, "owned_by": "mock"}))
        .collect();
    Bytes::from(json!({"object": "list", "data": models}).to_string())
}
