//! Every failure of the gateway itself: its status and its body in OpenAI's shape.
//!
//! A provider's own error answer is relayed and never passes through here.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
};
use derive_more::Display;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::{PlainKey, ProviderRefused},
    request_id::RequestId,
    storage::StorageError,
};

/// A failure, grouped by who must act: the caller, the provider's operator, or ours.
#[derive(Clone, Debug, Display, PartialEq, Eq)]
pub enum GatewayError {
    /// The user key is missing, malformed, unknown or revoked.
    #[display(
        "Incorrect API key provided. Send `Authorization: Bearer sk-…` with a key that this gateway issued."
    )]
    InvalidUserKey,
    /// The request carries two keys, and which is meant nobody can tell.
    #[display(
        "Incorrect API key provided: `Authorization` and `x-api-key` carry different keys. Send one of them."
    )]
    ConflictingUserKeys,
    /// The admin key is missing or wrong.
    #[display(
        "Incorrect API key provided. Send `Authorization: Bearer …` with the gateway's admin key."
    )]
    InvalidAdminKey,
    /// The admin key is wrong, and more wrong ones are being answered than may wait at once.
    #[display("Incorrect API key provided. Too many wrong admin keys are being tried.")]
    TooManyWrongAdminKeys,
    /// The request can't be used as it is.
    #[display("{message}")]
    InvalidRequest {
        /// What is wrong and what would be right.
        message: String,
        /// The field it is about.
        param: Option<String>,
        /// A word for programs.
        code: &'static str,
    },
    /// No active route has this name.
    #[display("The model `{model}` does not exist or you do not have access to it.")]
    UnknownModel {
        /// As the caller wrote it.
        model: String,
    },
    /// No item of this kind has this id.
    #[display("No {kind} has {}.", this_id(*id))]
    UnknownId {
        /// `provider`, `model` or `key`.
        kind: &'static str,
        /// `None` where it was no id at all: then it isn't repeated, since it may be a key that
        /// was taken for one.
        id: Option<Uuid>,
    },
    /// No endpoint has this path.
    #[display("Unknown request URL: {method} {path}. Please check the URL for typos.")]
    UnknownUrl {
        /// Of the request.
        method: String,
        /// Without its query and without keys.
        path: String,
    },
    /// The endpoint exists, but not with this method.
    #[display("Method {method} is not allowed for {path}; allowed: {allowed}.")]
    MethodNotAllowed {
        /// Of the request.
        method: String,
        /// Without its query and without keys.
        path: String,
        /// As in the `Allow` header.
        allowed: String,
    },
    /// The change contradicts what is stored.
    #[display("{message}")]
    Conflict {
        /// With what it collides and what to do about it.
        message: String,
        /// The field it is about.
        param: Option<&'static str>,
    },
    /// The body is over the limit.
    #[display("The request body is larger than the limit of {limit} bytes.")]
    BodyTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The body isn't declared to be JSON.
    #[display("The request body must be JSON: send `Content-Type: application/json`.")]
    NotJson,
    /// The body isn't declared to be a form.
    #[display(
        "The request body must be a form: send one `Content-Type: multipart/form-data; boundary=…`."
    )]
    NotAForm,
    /// The body is compressed.
    #[display("The request body must not be compressed: send it without `Content-Encoding`.")]
    CompressedBody,
    /// The head asks for WebSocket. actix-web then takes all that follows on the connection for the
    /// body, whatever length is declared, so the body has no end.
    #[display(
        "The gateway does not speak WebSocket: send the request without `Upgrade: websocket`."
    )]
    WebSocket,
    /// Nothing more of the body came in time.
    #[display("The request body stopped arriving: nothing came for {}.", seconds(*after))]
    RequestTimeout {
        /// The limit that ran out.
        after: Duration,
    },
    /// The body trickles.
    #[display(
        "The request body arrives too slowly: only {received} bytes came in {}.",
        seconds(*after)
    )]
    RequestTooSlow {
        /// So much of it.
        received: usize,
        /// Since it began.
        after: Duration,
    },
    /// No connection to the provider, a failed TLS handshake, or closed before a response.
    #[display("The provider of this model could not be reached: {reason}.")]
    UpstreamUnreachable {
        /// Without addresses or secrets.
        reason: String,
    },
    /// No connection was tried, because of the address that the provider's host has.
    #[display(
        "The provider of this model has an address that the gateway does not connect to: {reason}."
    )]
    UpstreamAddressRefused {
        /// Without the address.
        reason: &'static str,
    },
    /// What the provider sent isn't an HTTP response that can be relayed.
    #[display("The provider of this model sent an unusable response: {reason}.")]
    UpstreamInvalidResponse {
        /// Without contents.
        reason: String,
    },
    /// The provider refused, in words that can't be repeated where this is said.
    #[display("The provider of this model answered with status {}.", status.as_u16())]
    UpstreamRefused {
        /// The provider's.
        status: StatusCode,
    },
    /// The provider sent no response headers in time.
    #[display("The provider of this model sent no response within {}.", seconds(*after))]
    UpstreamTimeout {
        /// The limit that ran out.
        after: Duration,
    },
    /// Neither the caches nor the database can answer now.
    #[display("The gateway is temporarily unavailable: {reason}. Please try again.")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// As many requests are being answered as the gateway takes at once.
    #[display("The gateway is answering as many requests as it can. Please try again shortly.")]
    Overloaded,
    /// The bodies of all requests together are over the limit.
    #[display(
        "The gateway holds as many bytes of request bodies as it can. Please try again shortly."
    )]
    BodyMemoryFull,
    /// The gateway is about to stop. Only readiness says so: requests are answered to the end.
    #[display("The gateway is about to stop.")]
    Draining,
    /// A defect of ours. The cause is in the log, never in the answer.
    #[display("The gateway failed to handle the request.")]
    Internal,
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

fn this_id(id: Option<Uuid>) -> String {
    match id {
        Some(id) => format!("the id `{id}`"),
        None => "this id; ids are UUIDs, as the list shows them".to_owned(),
    }
}

/// A path to repeat in a message: a key that was pasted into it is masked.
fn without_keys(path: &str) -> String {
    let masked = |segment| match PlainKey::parse(str::as_bytes(segment)) {
        Some(_) => "sk-…",
        None => segment,
    };
    let segments: Vec<&str> = path.split('/').map(masked).collect();
    segments.join("/")
}

/// The columns of the error table: status, `type`, `code`.
struct Row(StatusCode, &'static str, &'static str);

/// How long a caller should wait before it asks an unavailable gateway again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl GatewayError {
    /// A 400 about one field.
    pub fn invalid_field(param: &str, problem: impl std::fmt::Display) -> Self {
        Self::InvalidRequest {
            message: format!("`{param}` {problem}."),
            param: Some(param.to_owned()),
            code: "invalid_value",
        }
    }

    /// A 400 about one field that has to be there.
    pub fn missing_field(param: &str) -> Self {
        Self::InvalidRequest {
            message: format!("`{param}` is required."),
            param: Some(param.to_owned()),
            code: "missing_field",
        }
    }

    /// Refuses a request whose body would have no end. With chunks it has one.
    ///
    /// # Errors
    /// [`Self::WebSocket`].
    pub fn refuse_websocket(headers: &HeaderMap) -> Result<(), Self> {
        let mut upgrades = headers.get_all(header::UPGRADE);
        let is_websocket = |value: &HeaderValue| {
            let name = value.as_bytes().trim_ascii();
            name.eq_ignore_ascii_case(b"websocket")
        };
        match upgrades.any(is_websocket) && !headers.contains_key(header::TRANSFER_ENCODING) {
            true => Err(Self::WebSocket),
            false => Ok(()),
        }
    }

    /// A 404 for a path that nothing serves.
    pub fn unknown_url(request: &HttpRequest) -> Self {
        Self::UnknownUrl {
            method: request.method().to_string(),
            path: without_keys(request.path()),
        }
    }

    /// A 405 for a path that serves other methods: those that `allowed` lists.
    pub fn method_not_allowed(request: &HttpRequest, allowed: &str) -> Self {
        Self::MethodNotAllowed {
            method: request.method().to_string(),
            path: without_keys(request.path()),
            allowed: allowed.to_owned(),
        }
    }

    fn row(&self) -> Row {
        const CALLER: &str = "invalid_request_error";
        const SERVER: &str = "api_error";
        match self {
            Self::InvalidRequest { code, .. } => Row(StatusCode::BAD_REQUEST, CALLER, code),
            Self::InvalidUserKey
            | Self::ConflictingUserKeys
            | Self::InvalidAdminKey
            | Self::TooManyWrongAdminKeys => {
                Row(StatusCode::UNAUTHORIZED, CALLER, "invalid_api_key")
            }
            Self::UnknownModel { .. } => Row(StatusCode::NOT_FOUND, CALLER, "model_not_found"),
            Self::UnknownId { .. } => Row(StatusCode::NOT_FOUND, CALLER, "not_found"),
            Self::UnknownUrl { .. } => Row(StatusCode::NOT_FOUND, CALLER, "unknown_url"),
            Self::MethodNotAllowed { .. } => {
                Row(StatusCode::METHOD_NOT_ALLOWED, CALLER, "method_not_allowed")
            }
            Self::Conflict { .. } => Row(StatusCode::CONFLICT, CALLER, "conflict"),
            Self::BodyTooLarge { .. } => {
                Row(StatusCode::PAYLOAD_TOO_LARGE, CALLER, "request_too_large")
            }
            Self::NotJson | Self::NotAForm | Self::CompressedBody => Row(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                CALLER,
                "unsupported_media_type",
            ),
            Self::WebSocket => Row(StatusCode::BAD_REQUEST, CALLER, "unsupported_upgrade"),
            Self::RequestTimeout { .. } | Self::RequestTooSlow { .. } => {
                Row(StatusCode::REQUEST_TIMEOUT, CALLER, "request_timeout")
            }
            Self::UpstreamUnreachable { .. } => {
                Row(StatusCode::BAD_GATEWAY, SERVER, "upstream_unreachable")
            }
            Self::UpstreamAddressRefused { .. } => {
                Row(StatusCode::BAD_GATEWAY, SERVER, "upstream_address_refused")
            }
            Self::UpstreamInvalidResponse { .. } => {
                Row(StatusCode::BAD_GATEWAY, SERVER, "upstream_invalid_response")
            }
            Self::UpstreamRefused { .. } => Row(StatusCode::BAD_GATEWAY, SERVER, "upstream_error"),
            Self::UpstreamTimeout { .. } => {
                Row(StatusCode::GATEWAY_TIMEOUT, SERVER, "upstream_timeout")
            }
            Self::Unavailable { .. } => Row(StatusCode::SERVICE_UNAVAILABLE, SERVER, "unavailable"),
            Self::Overloaded => Row(StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded"),
            Self::BodyMemoryFull => {
                Row(StatusCode::SERVICE_UNAVAILABLE, SERVER, "body_memory_full")
            }
            Self::Draining => Row(StatusCode::SERVICE_UNAVAILABLE, SERVER, "draining"),
            Self::Internal => Row(StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::InvalidRequest { param, .. } => param.as_deref(),
            Self::Conflict { param, .. } => *param,
            Self::UnknownModel { .. } => Some("model"),
            _ => None,
        }
    }

    /// The word for programs: `code` in the body.
    pub fn code(&self) -> &'static str {
        self.row().2
    }
}

impl From<StorageError> for GatewayError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NameTaken { kind, name } => Self::Conflict {
                message: format!(
                    "Another {kind} has the name `{name}`. The names of {kind}s are unique; choose another."
                ),
                param: Some("name"),
            },
            StorageError::ProviderInUse { models } => Self::Conflict {
                message: format!(
                    "Models still use this provider: {}. Delete them or give them another provider first.",
                    quoted(&models)
                ),
                param: None,
            },
            StorageError::UnknownProvider { id } => Self::invalid_field(
                "provider_id",
                format_args!("must name a provider that exists; none has the id `{id}`"),
            ),
            StorageError::ProviderRefused(refused) => refused.into(),
            StorageError::KeyRevoked => Self::Conflict {
                message: "This key is revoked, for good. Issue a new one.".to_owned(),
                param: None,
            },
            StorageError::Unavailable { reason, .. } => Self::Unavailable { reason },
            error @ StorageError::TooManyLookUps => Self::Unavailable {
                reason: error.to_string(),
            },
            error @ StorageError::WrongEncryptionKey { .. } => {
                log::error!("{error}");
                Self::Unavailable {
                    reason: "providers' keys are sealed with an encryption key that this gateway doesn't have".to_owned(),
                }
            }
            StorageError::Broken { reason } => {
                log::error!("storage failed: {reason}");
                Self::Internal
            }
        }
    }
}

impl From<ProviderRefused> for GatewayError {
    fn from(refused: ProviderRefused) -> Self {
        let missing = |param: &str, message| Self::InvalidRequest {
            message,
            param: Some(param.to_owned()),
            code: "missing_field",
        };
        match refused {
            ProviderRefused::NoAddress(kind) => missing(
                "base_url",
                format!(
                    "`base_url` is required: the kind `{}` has no address of its own.",
                    kind.as_str()
                ),
            ),
            ProviderRefused::NoKey(kind) => Self::invalid_field(
                "api_key",
                format_args!(
                    "must not be empty: a provider of the kind `{}` asks for one",
                    kind.as_str()
                ),
            ),
            ProviderRefused::SecretNeeded { secret, from, to } => missing(
                secret,
                format!(
                    "`{secret}` is required where the provider's address changes from {from} to {to}: what is stored must not be sent elsewhere. Give what the new address is to be sent in the same call."
                ),
            ),
        }
    }
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// An error of the gateway's own, in [OpenAI's form](https://platform.openai.com/docs/guides/error-codes).
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Envelope<'a> {
    #[schema(inline)]
    error: Body<'a>,
}

#[derive(Serialize, ToSchema)]
struct Body<'a> {
    /// What is wrong, for people.
    message: String,
    /// A coarse word: whose mistake it is.
    r#type: &'static str,
    /// The field that it is about.
    #[schema(required)]
    param: Option<&'a str>,
    /// A fine word, for programs.
    code: &'static str,
}

impl ResponseError for GatewayError {
    fn status_code(&self) -> StatusCode {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let Row(_, r#type, code) = self.row();
        self.head().json(Envelope {
            error: Body {
                message: self.to_string(),
                r#type,
                param: self.param(),
                code,
            },
        })
    }
}

impl GatewayError {
    /// Status and headers of the response.
    fn head(&self) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(self.row().0);
        match self {
            Self::InvalidUserKey | Self::ConflictingUserKeys | Self::InvalidAdminKey => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            // Another guess costs another connection.
            Self::TooManyWrongAdminKeys => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
                response.force_close();
            }
            Self::MethodNotAllowed { allowed, .. } => {
                response.insert_header((header::ALLOW, allowed.as_str()));
            }
            // What would be accepted instead (RFC 9110, section 15.5.16).
            Self::CompressedBody => {
                response.insert_header((header::ACCEPT_ENCODING, "identity"));
            }
            // The body has no end, so nothing can follow it.
            Self::WebSocket | Self::RequestTimeout { .. } | Self::RequestTooSlow { .. } => {
                response.force_close();
            }
            Self::Unavailable { .. } | Self::Overloaded | Self::BodyMemoryFull => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
            }
            _ => {}
        }
        response
    }
}

/// Whose API a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, as nearly everything.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

/// A failure in the words of the API that the request belongs to.
#[derive(Debug, Display)]
#[display("{error}")]
pub struct Refusal {
    error: GatewayError,
    dialect: Dialect,
    request_id: Option<RequestId>,
}

impl Refusal {
    /// The answer to `request`.
    pub fn new(error: GatewayError, dialect: Dialect, request: &HttpRequest) -> Self {
        Self {
            error,
            dialect,
            request_id: RequestId::of(request),
        }
    }

    /// The answer to a request of which nothing is known, as an example.
    pub(crate) fn example(error: GatewayError, dialect: Dialect) -> HttpResponse {
        let refusal = Self {
            error,
            dialect,
            request_id: Some(RequestId::example()),
        };
        refusal.error_response()
    }

    /// What is refused.
    pub fn error(&self) -> &GatewayError {
        &self.error
    }

    /// Anthropic's envelope (<https://platform.claude.com/docs/en/api/errors>), with OpenAI's
    /// `code` and `param` beside it, which it has nothing for.
    fn in_anthropics_words(&self) -> HttpResponse {
        let r#type = match self.error.row().0 {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            status if status.is_server_error() => "api_error",
            _ => "invalid_request_error",
        };
        self.error.head().json(AnthropicEnvelope {
            r#type: "error",
            error: Body {
                message: self.error.to_string(),
                r#type,
                param: self.error.param(),
                code: self.error.code(),
            },
            request_id: self.request_id.map(|id| id.to_string()),
        })
    }
}

/// An error of the gateway's own, in [Anthropic's form](https://platform.claude.com/docs/en/api/errors).
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicError)]
pub(crate) struct AnthropicEnvelope<'a> {
    /// Always `error`.
    r#type: &'static str,
    #[schema(inline)]
    error: Body<'a>,
    /// As in `x-gateway-request-id`.
    #[schema(required)]
    request_id: Option<String>,
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.error.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        match self.dialect {
            Dialect::OpenAi => self.error.error_response(),
            Dialect::Anthropic => self.in_anthropics_words(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{body::to_bytes, test::TestRequest};
    use serde_json::{Value, json};

    use super::*;

    async fn body_of(error: GatewayError) -> Value {
        let body = to_bytes(error.error_response().into_body()).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[actix_rt::test]
    async fn an_error_has_the_openai_envelope() {
        let body = body_of(GatewayError::UnknownModel {
            model: "gpt-5".to_owned(),
        })
        .await;
        assert_eq!(
            body,
            json!({"error": {
                "message": "The model `gpt-5` does not exist or you do not have access to it.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }})
        );
    }

    #[actix_rt::test]
    async fn a_refusal_may_have_anthropics_envelope() {
        let request = TestRequest::default().to_http_request();
        for (error, status, r#type, code) in [
            (
                GatewayError::InvalidUserKey,
                401,
                "authentication_error",
                "invalid_api_key",
            ),
            (
                GatewayError::BodyTooLarge { limit: 1 },
                413,
                "request_too_large",
                "request_too_large",
            ),
            (
                GatewayError::NotJson,
                415,
                "invalid_request_error",
                "unsupported_media_type",
            ),
            (GatewayError::Internal, 500, "api_error", "internal_error"),
        ] {
            let refusal = Refusal::new(error.clone(), Dialect::Anthropic, &request);
            let response = refusal.error_response();
            assert_eq!(response.status(), status);
            let body = to_bytes(response.into_body()).await.unwrap();
            let expected = json!({
                "type": "error",
                "error": {
                    "type": r#type,
                    "message": error.to_string(),
                    "param": null,
                    "code": code,
                },
                "request_id": null,
            });
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
        }
    }

    #[actix_rt::test]
    async fn a_failure_of_storage_says_what_to_do_or_nothing_of_its_cause() {
        let in_use = StorageError::ProviderInUse {
            models: vec!["gpt-4o".to_owned(), "o3".to_owned()],
        };
        let error = GatewayError::from(in_use);
        assert_eq!(error.status_code(), 409);
        assert!(error.to_string().contains("`gpt-4o`, `o3`"));

        let unknown = StorageError::UnknownProvider { id: Uuid::nil() };
        assert_eq!(
            body_of(unknown.into()).await["error"]["param"],
            "provider_id"
        );

        let broken = StorageError::Broken {
            reason: "row 7 is unreadable".to_owned(),
        };
        assert_eq!(GatewayError::from(broken), GatewayError::Internal);
    }

    #[actix_rt::test]
    async fn a_key_in_the_path_is_not_repeated() {
        let path = "/v1/sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e/chat";
        let request = TestRequest::with_uri(path).to_http_request();
        for error in [
            GatewayError::unknown_url(&request),
            GatewayError::method_not_allowed(&request, "POST"),
        ] {
            let message = error.to_string();
            assert!(message.contains("/v1/sk-…/chat"), "{message}");
            assert!(!message.contains("6f0c2d0e"), "{message}");
        }
    }

    #[actix_rt::test]
    async fn a_temporary_failure_says_when_to_come_back() {
        let response = GatewayError::Unavailable {
            reason: "the database does not answer".to_owned(),
        }
        .error_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get("retry-after").unwrap(), "1");
    }
}
