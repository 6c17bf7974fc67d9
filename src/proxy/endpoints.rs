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
    /// What it is for, in the API's description.
    pub(super) summary: &'static str,
    /// A request, as JSON; for a form its fields.
    pub(super) example: &'static str,
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
    openai(
        "/chat/completions",
        ModelIn::Json,
        "Create a chat completion",
        r#"{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}"#,
    ),
    openai(
        "/completions",
        ModelIn::Json,
        "Create a completion",
        r#"{"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time"}"#,
    ),
    openai(
        "/embeddings",
        ModelIn::Json,
        "Create embeddings",
        r#"{"model": "text-embedding-3-small", "input": "Hello!"}"#,
    ),
    openai(
        "/responses",
        ModelIn::Json,
        "Create a response",
        r#"{"model": "gpt-4o-mini", "input": "Hello!"}"#,
    ),
    openai(
        "/moderations",
        ModelIn::JsonOr("omni-moderation-latest"),
        "Classify whether a text is harmful",
        r#"{"input": "Hello!"}"#,
    ),
    openai(
        "/images/generations",
        ModelIn::Json,
        "Create an image",
        r#"{"model": "gpt-image-1", "prompt": "A lighthouse at night"}"#,
    ),
    openai(
        "/images/edits",
        ModelIn::Form,
        "Edit an image",
        r#"{"model": "gpt-image-1", "image": "(a file)", "prompt": "Add a ship"}"#,
    ),
    openai(
        "/images/variations",
        ModelIn::Form,
        "Create a variation of an image",
        r#"{"model": "dall-e-2", "image": "(a file)"}"#,
    ),
    openai(
        "/audio/speech",
        ModelIn::Json,
        "Turn text into speech",
        r#"{"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hello!"}"#,
    ),
    openai(
        "/audio/transcriptions",
        ModelIn::Form,
        "Transcribe speech",
        r#"{"model": "whisper-1", "file": "(a file)"}"#,
    ),
    openai(
        "/audio/translations",
        ModelIn::Form,
        "Translate speech into English",
        r#"{"model": "whisper-1", "file": "(a file)"}"#,
    ),
    // Not OpenAI's, but in this form at Cohere, Jina and everybody who followed them.
    openai(
        "/rerank",
        ModelIn::Json,
        "Order documents by relevance",
        r#"{"model": "rerank-v3.5", "query": "lighthouse", "documents": ["A ship.", "A tower."]}"#,
    ),
    anthropic(
        "/messages",
        "Create a message",
        r#"{"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}]}"#,
    ),
    anthropic(
        "/messages/count_tokens",
        "Count the tokens of a message",
        r#"{"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello!"}]}"#,
    ),
];

const fn openai(
    path: &'static str,
    model: ModelIn,
    summary: &'static str,
    example: &'static str,
) -> Endpoint {
    Endpoint {
        path,
        model,
        dialect: Dialect::OpenAi,
        summary,
        example,
    }
}

const fn anthropic(path: &'static str, summary: &'static str, example: &'static str) -> Endpoint {
    Endpoint {
        path,
        model: ModelIn::Json,
        dialect: Dialect::Anthropic,
        summary,
        example,
    }
}
