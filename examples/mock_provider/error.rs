//! Errors as OpenAI words them: the status, the envelope, and `Retry-After` where it belongs.

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::json;

/// A refusal, or a failure that the request asked for.
#[derive(Debug)]
pub(crate) struct MockError {
    status: StatusCode,
    code: Option<&'static str>,
    param: Option<&'static str>,
    message: String,
    retry_after: Option<u64>,
}

impl MockError {
    /// The request can't be used.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field that has to be there is not.
    pub(crate) fn missing(param: &'static str) -> Self {
        let mut error = Self::bad_request(format!("Missing required parameter: '{param}'."));
        error.param = Some(param);
        error.code = Some("missing_required_parameter");
        error
    }

    /// The key is missing or wrong. It is not repeated in the answer.
    pub(crate) fn wrong_key() -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            "Incorrect API key provided to the mock provider.",
        );
        error.code = Some("invalid_api_key");
        error
    }

    /// The body is longer than the mock provider reads.
    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.")
    }

    /// No such path.
    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        let mut error = Self::new(
            StatusCode::NOT_FOUND,
            format!("Invalid URL ({method} {path})"),
        );
        error.code = Some("unknown_url");
        error
    }

    /// The path is served, but not by this method.
    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        let mut error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("Not allowed to {method} on {path}"),
        );
        error.code = Some("method_not_allowed");
        error
    }

    /// The failure that a setting asked for.
    pub(crate) fn on_demand(status: StatusCode, retry_after: u64) -> Self {
        let reason = status.canonical_reason().unwrap_or("error");
        let mut error = Self::new(status, format!("{reason}, as the request asked for."));
        error.code = match status.as_u16() {
            401 => Some("invalid_api_key"),
            404 => Some("model_not_found"),
            429 => Some("rate_limit_exceeded"),
            _ => None,
        };
        let says_when = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        error.retry_after = says_when.contains(&status).then_some(retry_after);
        error
    }

    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            429 => "requests",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The response in the words of Anthropic's API.
    pub(crate) fn anthropic_response(&self, request_id: &str) -> HttpResponse {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        self.head(request_id).json(json!({
            "type": "error",
            "error": {"type": kind, "message": self.message},
            "request_id": request_id,
        }))
    }

    /// The response in the words of OpenAI's API.
    pub(crate) fn response(&self, request_id: &str) -> HttpResponse {
        self.head(request_id).json(json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        }}))
    }

    fn head(&self, request_id: &str) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status);
        response.insert_header(("x-request-id", request_id));
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        response
    }
}
