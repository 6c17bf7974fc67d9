//! What the mock provider serves, as one table: a further endpoint is a further row.

use std::borrow::Cow;

use actix_web::http::Method;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::answer::Answer;
use crate::error::MockError;
use crate::server::Mock;
use crate::settings::Settings;
use crate::{
    audio, chat, completions, embeddings, form, images, messages, models, moderations, rerank,
    responses,
};

/// One path, and what answers there.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) answer: fn(&Call<'_>) -> Result<Answer, MockError>,
}

/// Every endpoint.
pub(crate) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::POST,
        path: "/v1/chat/completions",
        meaning: "whole or streamed: text, JSON of a schema, or a tool call; with usage",
        answer: chat::answer,
    },
    post(
        "/v1/completions",
        "whole or streamed, text with usage",
        completions::answer,
    ),
    post("/v1/responses", "the same", responses::answer),
    post(
        "/v1/embeddings",
        "numbers or base64, as many as `dimensions` says [8]",
        embeddings::answer,
    ),
    post("/v1/moderations", "nothing is flagged", moderations::answer),
    post("/v1/rerank", "the longest document first", rerank::answer),
    post(
        "/v1/images/generations",
        "one pixel, `n` times",
        images::generate,
    ),
    post(
        "/v1/images/edits",
        "one pixel, and what was uploaded in `mock`",
        images::edit,
    ),
    post("/v1/images/variations", "the same", images::edit),
    post(
        "/v1/audio/speech",
        "bytes as long as a whole answer's text",
        audio::speak,
    ),
    post(
        "/v1/audio/transcriptions",
        "text, and what was uploaded in `mock`",
        audio::transcribe,
    ),
    post("/v1/audio/translations", "the same", audio::transcribe),
    post(
        messages::PATH,
        "Anthropic's, whole or streamed, text or a tool call",
        messages::answer,
    ),
    post(
        "/v1/messages/count_tokens",
        "Anthropic's: --prompt-tokens",
        messages::count_tokens,
    ),
    Endpoint {
        method: Method::GET,
        path: "/v1/models",
        meaning: "the names of --models",
        answer: models::answer,
    },
];

impl Endpoint {
    /// Whether it is answered and refused in the words of Anthropic's API.
    pub(crate) fn is_anthropics(&self) -> bool {
        self.path.starts_with(messages::PATH)
    }
}

const fn post(
    path: &'static str,
    meaning: &'static str,
    answer: fn(&Call<'_>) -> Result<Answer, MockError>,
) -> Endpoint {
    Endpoint {
        method: Method::POST,
        path,
        meaning,
        answer,
    }
}

/// What an endpoint answers from.
pub(crate) struct Call<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) form: Option<&'a form::Form<'a>>,
    pub(crate) request: &'a Request<'a>,
    pub(crate) settings: &'a Settings,
    pub(crate) mock: &'a Mock,
}

/// The fields of a request that some endpoint acts on.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    pub(crate) model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) messages: Option<&'a RawValue>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    #[serde(borrow)]
    pub(crate) tools: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) tool_choice: Option<&'a RawValue>,
    /// Where chat asks for JSON of some shape.
    #[serde(borrow)]
    pub(crate) response_format: Option<&'a RawValue>,
}

/// The one option of a stream that changes what is sent.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

impl Call<'_> {
    /// The model, which every endpoint needs.
    pub(crate) fn model(&self) -> Result<&str, MockError> {
        let model = self.request.model.as_deref();
        model.ok_or_else(|| MockError::missing("model"))
    }

    /// The whole body, where more of it matters than [`Request`] has.
    pub(crate) fn json(&self) -> Result<Value, MockError> {
        serde_json::from_slice(self.body)
            .map_err(|problem| MockError::bad_request(problem.to_string()))
    }

    /// A field that has to be there.
    pub(crate) fn field(&self, name: &'static str) -> Result<Value, MockError> {
        match self.json()?.get_mut(name).map(Value::take) {
            Some(value) if !value.is_null() => Ok(value),
            _ => Err(MockError::missing(name)),
        }
    }

    /// The form, which an endpoint that takes uploads needs.
    pub(crate) fn form(&self) -> Result<&form::Form<'_>, MockError> {
        self.form
            .ok_or_else(|| MockError::bad_request("The body must be multipart/form-data."))
    }
}

impl<'a> Request<'a> {
    /// What a form says.
    pub(crate) fn of_form(form: &form::Form<'a>) -> Self {
        Self {
            model: form.text("model").map(Cow::Borrowed),
            ..Self::default()
        }
    }

    /// Reads a JSON body; requests without a body have no fields.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, MockError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|problem| {
            MockError::bad_request(format!(
                "We could not parse the JSON body of your request: {problem}"
            ))
        })
    }

    pub(crate) fn is_streamed(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(crate) fn wants_usage(&self) -> bool {
        self.stream_options
            .as_ref()
            .and_then(|options| options.include_usage)
            .unwrap_or(false)
    }
}
