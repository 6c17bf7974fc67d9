//! What `/v1` forwards, as one table: a further endpoint is a further row.

use crate::error::Dialect;

/// A path that is forwarded, always with `POST`.
pub(super) struct Endpoint {
    /// What follows `/v1`, here and at the provider.
    pub(super) path: &'static str,
    /// Where the request names its model.
    pub(super) model: ModelIn,
    /// Whose API it belongs to, which decides how keys come and how refusals look.
    pub(super) dialect: Dialect,
}

/// Where a request names its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelIn {
    /// In the member `model` of a JSON object.
    Json,
    /// There too, but it may be left out: then it is this one, which OpenAI documents.
    JsonOr(&'static str),
    /// In the part `model` of a form; some providers take JSON as well, so the body's media type
    /// decides.
    Form,
}

/// Every endpoint that is forwarded.
pub(super) static ENDPOINTS: [Endpoint; 14] = [
    openai("/chat/completions", ModelIn::Json),
    openai("/completions", ModelIn::Json),
    openai("/embeddings", ModelIn::Json),
    openai("/responses", ModelIn::Json),
    openai("/moderations", ModelIn::JsonOr("omni-moderation-latest")),
    openai("/images/generations", ModelIn::Json),
    openai("/images/edits", ModelIn::Form),
    openai("/images/variations", ModelIn::Form),
    openai("/audio/speech", ModelIn::Json),
    openai("/audio/transcriptions", ModelIn::Form),
    openai("/audio/translations", ModelIn::Form),
    // Not OpenAI's, but in this form at Cohere, Jina and everybody who followed them.
    openai("/rerank", ModelIn::Json),
    anthropic("/messages"),
    anthropic("/messages/count_tokens"),
];

const fn openai(path: &'static str, model: ModelIn) -> Endpoint {
    Endpoint {
        path,
        model,
        dialect: Dialect::OpenAi,
    }
}

const fn anthropic(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        model: ModelIn::Json,
        dialect: Dialect::Anthropic,
    }
}
