//! A request in `multipart/form-data`: its part `model` in terms of the gateway.

use actix_web::{
    http::header::{CONTENT_TYPE, HeaderMap},
    web::Bytes,
};

use super::{
    form::{self, FormError},
    model_request::{ModelRequest, Spelling, invalid_model, missing_model},
};
use crate::error::GatewayError;

/// Checks a form and finds in it what the gateway acts on.
pub(super) fn parse(headers: &HeaderMap, body: Bytes) -> Result<ModelRequest, GatewayError> {
    let mut media_types = headers.get_all(CONTENT_TYPE);
    let part = match (media_types.next(), media_types.next()) {
        (Some(media_type), None) => form::find_model(media_type.as_bytes(), &body),
        _ => Err(FormError::NotAForm),
    };
    let part = part.map_err(refusal)?;
    let model = std::str::from_utf8(&body[part.content.clone()])
        .map_err(|_| invalid_model("must be text in UTF-8"))?;
    let model = model.to_owned();
    let (start, spelling) = match part.length {
        None => (part.content.start, Spelling::Plain),
        Some(length) => {
            let between = length.end..part.content.start;
            (length.start, Spelling::Counted { between })
        }
    };
    Ok(ModelRequest {
        model,
        place: start..part.content.end,
        spelling,
        is_streamed: false,
        body,
    })
}

fn refusal(error: FormError) -> GatewayError {
    match error {
        FormError::NotAForm => GatewayError::NotAForm,
        FormError::NoModel => missing_model(),
        FormError::SeveralModels => invalid_model("must not be given twice"),
        FormError::ModelIsFile => invalid_model("must be a plain field of the form, not a file"),
        FormError::Boundary | FormError::Malformed { .. } => GatewayError::InvalidRequest {
            message: format!("The request body can't be read as a form: {error}."),
            param: None,
            code: "invalid_form",
        },
    }
}
