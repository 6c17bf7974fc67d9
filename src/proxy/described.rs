//! The data path in the API's description, made from the table of endpoints.

use std::time::Duration;

use actix_web::{
    error::PayloadError,
    http::header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    web::Bytes,
};
use serde_json::Value;
use utoipa::openapi::{
    Content, HttpMethod, ObjectBuilder, Ref, Required, Response, ResponseBuilder, Schema, Type,
    content::ContentBuilder,
    path::{Operation, OperationBuilder},
    request_body::{RequestBody, RequestBodyBuilder},
    schema::AdditionalProperties,
};

use super::{
    endpoints::{ENDPOINTS, Endpoint, ModelIn},
    json_request,
    model_request::ModelRequest,
    models,
    request_body::unreadable,
    upstream::invalid_url,
};
use crate::{
    endpoints::Described,
    error::{Dialect, GatewayError},
};

/// Bodies that name a model, for the components of the description.
pub(crate) fn schemas() -> [(&'static str, Schema); 2] {
    [
        ("RequestWithModel", with_model().required("model").into()),
        ("RequestWithOptionalModel", with_model().into()),
    ]
}

/// All that is under `/v1`.
pub(crate) fn described() -> impl Iterator<Item = Described> {
    let forwarded = ENDPOINTS.iter().map(describe);
    forwarded.chain(models::described())
}

fn describe(endpoint: &Endpoint) -> Described {
    Described {
        path: format!("/v1{}", endpoint.path),
        method: HttpMethod::Post,
        about: about(endpoint),
        refusals: refusals(endpoint),
        dialect: endpoint.dialect,
        is_relayed: true,
    }
}

fn about(endpoint: &Endpoint) -> Operation {
    OperationBuilder::new()
        .operation_id(Some(operation_id(endpoint.path)))
        .summary(Some(endpoint.summary))
        .description(Some(
            "Goes to the model's provider as it comes, but for the name of the model, which the provider may \
             have another for. Whatever else is in it is the provider's to judge, and so is the query.",
        ))
        .request_body(Some(request_body(endpoint)))
        .response("200", answer("The provider's answer, byte for byte, as it arrives."))
        .response("default", answer(
            "Any other answer of the provider's: status, headers and body are relayed as they are. The \
             statuses that are listed are those that the gateway itself answers with, too.",
        ))
        .build()
}

/// `/audio/speech` is `forwardAudioSpeech`.
fn operation_id(path: &str) -> String {
    let words = path.split(['/', '_']).map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        first.to_uppercase() + rest
    });
    format!("forward{}", words.collect::<String>())
}

fn answer(description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content("*/*", Content::default())
        .build()
}

fn request_body(endpoint: &Endpoint) -> RequestBody {
    let (schema, media_types): (_, &[&str]) = match endpoint.model {
        ModelIn::Json => ("RequestWithModel", &["application/json"]),
        ModelIn::JsonOr(_) => ("RequestWithOptionalModel", &["application/json"]),
        ModelIn::Form => (
            "RequestWithModel",
            &["multipart/form-data", "application/json"],
        ),
    };
    let example: Option<Value> = serde_json::from_str(endpoint.example).ok();
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    let body = media_types.iter().fold(body, |body, media_type| {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(schema)))
            .example(example.clone());
        body.content(*media_type, content.build())
    });
    body.build()
}

fn with_model() -> ObjectBuilder {
    let model = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("A model that `GET /v1/models` lists."));
    ObjectBuilder::new()
        .description(Some(
            "What the gateway looks at; every other member is for the provider.",
        ))
        .property("model", model)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

fn refusals(endpoint: &Endpoint) -> Vec<GatewayError> {
    let mut refusals = vec![GatewayError::InvalidUserKey];
    if endpoint.dialect == Dialect::Anthropic {
        refusals.push(GatewayError::ConflictingUserKeys);
    }
    refusals.extend(refused_bodies(endpoint.model));
    refusals.extend([
        super::unknown_model("gpt-5o"),
        unreadable(&PayloadError::Incomplete(None)),
        invalid_url(),
        GatewayError::WebSocket,
        GatewayError::RequestTimeout {
            after: Duration::from_secs(30),
        },
        GatewayError::BodyTooLarge { limit: 32 << 20 },
        GatewayError::CompressedBody,
        GatewayError::Internal,
        GatewayError::UpstreamUnreachable {
            reason: "it accepted no connection".to_owned(),
        },
        GatewayError::UpstreamAddressRefused {
            reason: "it is link-local, of a metadata service or of no one host",
        },
        GatewayError::UpstreamInvalidResponse {
            reason: "it is not HTTP".to_owned(),
        },
        GatewayError::Unavailable {
            reason: "the database does not answer".to_owned(),
        },
        GatewayError::Overloaded,
        GatewayError::BodyMemoryFull,
        GatewayError::UpstreamTimeout {
            after: Duration::from_secs(600),
        },
    ]);
    refusals
}

/// Made by refusing some.
fn refused_bodies(model_in: ModelIn) -> impl Iterator<Item = GatewayError> {
    let json = [&b"{"[..], b"{}", br#"{"model": null}"#]
        .map(|body| json_request::parse(Bytes::from_static(body), None).err());
    let form = match model_in {
        ModelIn::Json | ModelIn::JsonOr(_) => [None, None],
        ModelIn::Form => ["text/plain", "multipart/form-data; boundary=x"].map(|media_type| {
            let headers =
                HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
            ModelRequest::parse(model_in, &headers, Bytes::from_static(b"--")).err()
        }),
    };
    json.into_iter().chain(form).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_an_example_that_it_would_take() {
        for endpoint in &ENDPOINTS {
            let example = Bytes::from_static(endpoint.example.as_bytes());
            let default = match endpoint.model {
                ModelIn::JsonOr(model) => Some(model),
                ModelIn::Json | ModelIn::Form => None,
            };
            json_request::parse(example, default).unwrap();
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        assert_eq!(operation_id("/audio/speech"), "forwardAudioSpeech");
        assert_eq!(
            operation_id("/messages/count_tokens"),
            "forwardMessagesCountTokens"
        );
    }
}
