//! JSON bodies: read within a limit, fields that know whether they were given, and refusals that
//! name the field but never repeat its value, which may be a secret.

use std::time::Duration;

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::CONTENT_LENGTH,
    web::{Bytes, BytesMut},
};
use futures_util::{StreamExt, future::LocalBoxFuture};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, error::Category};
use uuid::Uuid;

use super::item::parse_id;
use crate::{
    domain::{BaseUrl, FixedHeaders, Invalid, Name, ProviderKind, Secret, Timeouts},
    error::GatewayError,
    record::Record,
};

/// The largest body that makes sense is a few KiB; this leaves room for any way to escape it.
const MAX_BYTES: usize = 64 << 10;

/// The body of a request: a JSON object with the fields of `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest for JsonBody<T> {
    type Error = GatewayError;
    type Future = LocalBoxFuture<'static, Result<Self, GatewayError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let head = check_head(request);
        let payload = payload.take();
        let record = Record::of(request);
        Box::pin(async move {
            head?;
            let body = read(payload).await?;
            if let Some(record) = record {
                record.note_upload(body.len());
            }
            parse_object(&body).map(Self)
        })
    }
}

/// What can be refused before one byte of the body is read.
fn check_head(request: &HttpRequest) -> Result<(), GatewayError> {
    GatewayError::refuse_websocket(request.headers())?;
    if declared_length(request).is_some_and(|length| length > MAX_BYTES) {
        return Err(too_large());
    }
    if !is_json(request) {
        return Err(GatewayError::NotJson);
    }
    Ok(())
}

/// What `Content-Length` says; actix-web has answered a malformed one itself.
fn declared_length(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(CONTENT_LENGTH)?.to_str().ok()?;
    Some(length.parse().unwrap_or(usize::MAX))
}

/// `application/json` or `application/…+json`, with any parameters.
fn is_json(request: &HttpRequest) -> bool {
    matches!(request.mime_type(), Ok(Some(mime)) if mime.type_() == "application"
        && (mime.subtype() == "json" || mime.suffix().is_some_and(|suffix| suffix == "json")))
}

async fn read(mut payload: Payload) -> Result<Bytes, GatewayError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| invalid_json("it was not received whole"))?;
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn too_large() -> GatewayError {
    GatewayError::BodyTooLarge { limit: MAX_BYTES }
}

fn invalid_json(problem: impl std::fmt::Display) -> GatewayError {
    GatewayError::InvalidRequest {
        message: format!("The request body can't be read as JSON: {problem}."),
        param: None,
        code: "invalid_json",
    }
}

fn invalid_body(problem: impl std::fmt::Display) -> GatewayError {
    GatewayError::InvalidRequest {
        message: format!("The request body can't be used: {problem}."),
        param: None,
        code: "invalid_body",
    }
}

/// Examples of bodies that are refused.
pub(super) fn refusals() -> [GatewayError; 7] {
    [
        invalid_json("it is empty"),
        invalid_body("unknown field `nmae`"),
        GatewayError::missing_field("name"),
        GatewayError::invalid_field("name", "must not be empty"),
        GatewayError::WebSocket,
        too_large(),
        GatewayError::NotJson,
    ]
}

fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, GatewayError> {
    // serde would read a struct from an array too, and would repeat any other value in its
    // message.
    match body.trim_ascii_start().first() {
        None => return Err(invalid_json("it is empty")),
        Some(b'{') => {}
        Some(_) => {
            serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(invalid_json)?;
            return Err(invalid_body("it must be a JSON object"));
        }
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        // A field that is unknown or given twice; values are judged by `Field`.
        Category::Data => invalid_body(error),
        Category::Syntax | Category::Eof | Category::Io => invalid_json(error),
    })
}

/// A field of a body. It takes whatever is there, so that the refusal can name the field.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Null,
    Given(T),
    Refused(Invalid),
}

impl<'de, T: FromJson> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::Null,
            value => match T::from_json(&value) {
                Ok(value) => Self::Given(value),
                Err(problem) => Self::Refused(problem),
            },
        })
    }
}

impl<T> Field<T> {
    /// The value of a field called `param` that has to be there.
    pub(super) fn required(self, param: &str) -> Result<T, GatewayError> {
        self.optional(param)?
            .ok_or_else(|| GatewayError::missing_field(param))
    }

    /// The value of a field that may be left out.
    pub(super) fn optional(self, param: &str) -> Result<Option<T>, GatewayError> {
        match self.nullable(param)? {
            Some(None) => Err(GatewayError::invalid_field(param, "must not be null")),
            Some(value) => Ok(value),
            None => Ok(None),
        }
    }

    /// The value of a field that may be left out or null; null is `Some(None)`.
    pub(super) fn nullable(self, param: &str) -> Result<Option<Option<T>>, GatewayError> {
        match self {
            Self::Absent => Ok(None),
            Self::Null => Ok(Some(None)),
            Self::Given(value) => Ok(Some(Some(value))),
            Self::Refused(problem) => Err(GatewayError::invalid_field(param, problem)),
        }
    }
}

/// A value that a field can have.
pub(super) trait FromJson: Sized {
    /// The refusal says what would be right and nothing of `value`.
    fn from_json(value: &Value) -> Result<Self, Invalid>;
}

fn text(value: &Value) -> Result<&str, Invalid> {
    value
        .as_str()
        .ok_or_else(|| Invalid::new("must be a string"))
}

impl FromJson for Name {
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        Self::parse(text(value)?)
    }
}

impl FromJson for ProviderKind {
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        Self::parse(text(value)?)
    }
}

impl FromJson for BaseUrl {
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        Self::parse(text(value)?)
    }
}

impl FromJson for Secret {
    /// Whether an empty one will do depends on the kind of provider.
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        match text(value)?.trim() {
            "" => Ok(Self::default()),
            text => Self::parse_for_header(text),
        }
    }
}

impl FromJson for FixedHeaders {
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        let not_texts = || Invalid::new("must be an object of names and values, both strings");
        let object = value.as_object().ok_or_else(not_texts)?;
        let pairs: Option<Vec<_>> = object
            .iter()
            .map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        Self::parse(pairs.ok_or_else(not_texts)?)
    }
}

impl FromJson for Timeouts {
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        let object = value.as_object().ok_or_else(|| {
            Invalid::new("must be an object with `connect`, `response` and `idle`")
        })?;
        let mut timeouts = Self::default();
        for (name, value) in object {
            let place = match name.as_str() {
                "connect" => &mut timeouts.connect,
                "response" => &mut timeouts.response,
                "idle" => &mut timeouts.idle,
                _ => {
                    return Err(Invalid::new(
                        "must have no other members than `connect`, `response` and `idle`",
                    ));
                }
            };
            *place = limit(value).map_err(|problem| {
                Invalid::new(format!(
                    "has an unusable `{name}`, which {problem}, for example \"30s\""
                ))
            })?;
        }
        Ok(timeouts)
    }
}

/// Null is the limit that the settings have.
fn limit(value: &Value) -> Result<Option<Duration>, Invalid> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Timeouts::parse_one(text).map(Some),
        _ => Err(Invalid::new("must be a duration as a string")),
    }
}

impl FromJson for Uuid {
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        parse_id(text(value)?).ok_or_else(|| Invalid::new("must be an id, which is a UUID"))
    }
}

impl FromJson for bool {
    fn from_json(value: &Value) -> Result<Self, Invalid> {
        value
            .as_bool()
            .ok_or_else(|| Invalid::new("must be true or false"))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        name: Field<Name>,
        is_active: Field<bool>,
    }

    fn refusal(body: &[u8]) -> (String, &'static str) {
        let error = parse_object::<Sample>(body).unwrap_err();
        (error.to_string(), error.code())
    }

    #[test]
    fn a_field_is_absent_null_given_or_refused() {
        let sample: Sample = parse_object(br#" {"name": " x "} "#).unwrap();
        assert_eq!(sample.is_active, Field::Absent);
        assert_eq!(sample.name.required("name").unwrap().as_str(), "x");

        let sample: Sample = parse_object(br#"{"name": null, "is_active": "sk-1"}"#).unwrap();
        let (no_null, wrong_type) = (
            sample.name.optional("name").unwrap_err(),
            sample.is_active.optional("is_active").unwrap_err(),
        );
        assert_eq!(no_null.to_string(), "`name` must not be null.");
        assert_eq!(wrong_type.to_string(), "`is_active` must be true or false.");

        assert_eq!(Field::<Name>::Null.nullable("name"), Ok(Some(None)));
        assert_eq!(Field::<Name>::Absent.nullable("name"), Ok(None));
        let missing = Field::<Name>::Absent.required("name").unwrap_err();
        assert_eq!(missing.to_string(), "`name` is required.");
    }

    #[test]
    fn unknown_and_repeated_fields_are_named() {
        let (message, code) = refusal(br#"{"name": 1, "nmae": "sk-secret"}"#);
        assert!(message.contains("unknown field `nmae`"), "{message}");
        assert!(
            message.contains("`name`, `is_active`") || message.contains("`name` or `is_active`"),
            "{message}"
        );
        assert!(!message.contains("secret"));
        assert_eq!(code, "invalid_body");
        let (message, code) = refusal(br#"{"name": "a", "name": "b"}"#);
        assert!(message.contains("duplicate field `name`"), "{message}");
        assert_eq!(code, "invalid_body");
    }

    #[test]
    fn what_is_no_object_is_refused_without_repeating_it() {
        for body in ["[\"sk-secret\"]", "\"sk-secret\"", "7", "null", "true"] {
            let (message, code) = refusal(body.as_bytes());
            assert!(message.contains("must be a JSON object"), "{message}");
            assert_eq!(code, "invalid_body");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = format!("{{\"name\": {}", "[".repeat(10_000));
        for body in [
            &b""[..],
            b"  ",
            b"{",
            b"{\"name\": \"sk-secret}",
            b"{} {}",
            b"name=sk-secret",
            b"\xef\xbb\xbf{}",
            b"{\"name\": \"\xff\"}",
            b"{\"name\": \"\\ud800\"}",
            deep.as_bytes(),
        ] {
            let (message, code) = refusal(body);
            assert_eq!(code, "invalid_json", "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn only_json_media_types_are_json() {
        let is_json = |media_type: &str| {
            let request = TestRequest::default().insert_header(("content-type", media_type));
            is_json(&request.to_http_request())
        };
        for media_type in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
        ] {
            assert!(is_json(media_type), "{media_type}");
        }
        for media_type in [
            "",
            "text/json",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonlines",
            "json",
        ] {
            assert!(!is_json(media_type), "{media_type}");
        }
    }
}
