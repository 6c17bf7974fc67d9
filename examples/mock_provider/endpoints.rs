//! What the mock provider serves, as one table: a further endpoint is a further row.

use std::borrow::Cow;

use actix_web::http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::Answer;
use crate::error::MockError;
use crate::server::Mock;
use crate::settings::Settings;
use crate::{chat, models};

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
        meaning: "whole or streamed, text or a tool call, with usage",
        answer: chat::answer,
    },
    Endpoint {
        method: Method::GET,
        path: "/v1/models",
        meaning: "the names of --models",
        answer: models::answer,
    },
];

/// What an endpoint answers from.
pub(crate) struct Call<'a> {
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
}

/// The one option of a stream that changes what is sent.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

impl<'a> Request<'a> {
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
