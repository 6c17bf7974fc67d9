//! A request's body and the model that it names: found in JSON or in a form, and replaced there.
//! Every other byte stays as the caller wrote it.

use std::ops::Range;

use actix_web::{
    http::header::{CONTENT_TYPE, HeaderMap},
    web::Bytes,
};

use super::{endpoints::ModelIn, form_request, json_request, request_body::RequestBody};
use crate::error::GatewayError;

/// A body that names one model.
#[derive(Debug)]
pub(super) struct ModelRequest {
    pub(super) body: Bytes,
    pub(super) model: String,
    /// What is replaced where the provider calls the model otherwise.
    pub(super) place: Range<usize>,
    pub(super) spelling: Spelling,
    pub(super) is_streamed: bool,
}

/// How a name is written into its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As the literal of a JSON string.
    Literal,
    /// As the first member of an object that has no `model`.
    FirstMember { is_only: bool },
    /// As it is.
    Plain,
    /// As it is, behind its length and this part of the body, which stands between the two.
    Counted { between: Range<usize> },
}

impl ModelRequest {
    /// Checks a body and finds the model in it.
    pub(super) fn parse(
        model_in: ModelIn,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, GatewayError> {
        match model_in {
            ModelIn::Json => json_request::parse(body, None),
            ModelIn::JsonOr(default) => json_request::parse(body, Some(default)),
            ModelIn::Form if is_json(headers) => json_request::parse(body, None),
            ModelIn::Form => form_request::parse(headers, body),
        }
    }

    /// The model that the caller asks for.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Whether the caller asks for a streamed answer. What isn't a boolean is for the provider to
    /// judge, and so is what a form says.
    pub(super) fn is_streamed(&self) -> bool {
        self.is_streamed
    }

    /// The body for a provider that knows the model as `provider_model`, and the model that the
    /// caller asked for.
    pub(super) fn for_model(self, provider_model: &str) -> (RequestBody, String) {
        if self.model == provider_model {
            return (RequestBody::from(self.body), self.model);
        }
        let name = Bytes::from(self.spell(provider_model));
        let Range { start, end } = self.place;
        let body = [self.body.slice(..start), name, self.body.slice(end..)];
        (RequestBody::from(body), self.model)
    }

    fn spell(&self, model: &str) -> Vec<u8> {
        let literal = || serde_json::Value::from(model).to_string();
        match &self.spelling {
            Spelling::Literal => literal().into_bytes(),
            Spelling::FirstMember { is_only } => {
                let comma = if *is_only { "" } else { "," };
                format!("\"model\":{}{comma}", literal()).into_bytes()
            }
            Spelling::Plain => model.as_bytes().to_vec(),
            Spelling::Counted { between } => {
                let length = model.len().to_string();
                [
                    length.as_bytes(),
                    &self.body[between.clone()],
                    model.as_bytes(),
                ]
                .concat()
            }
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(|value| {
        let value = value.as_bytes();
        let end = value.iter().position(|&byte| byte == b';');
        value[..end.unwrap_or(value.len())].trim_ascii()
    });
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(b"application/json"))
}

/// The refusal of a body that names no model.
pub(super) fn missing_model() -> GatewayError {
    GatewayError::InvalidRequest {
        message: "You must provide a `model` parameter.".to_owned(),
        param: Some("model".to_owned()),
        code: "missing_model",
    }
}

/// The refusal of a `model` that can't be used.
pub(super) fn invalid_model(problem: &str) -> GatewayError {
    GatewayError::InvalidRequest {
        message: format!("`model` {problem}."),
        param: Some("model".to_owned()),
        code: "invalid_model",
    }
}
