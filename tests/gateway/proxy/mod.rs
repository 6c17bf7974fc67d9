//! The data path `/v1`, as callers and providers see it.

mod authentication;
mod bodies;
mod broken_answers;
mod connections;
mod cors;
mod endpoints;
mod failures;
mod headers;
mod keep_alive;
mod leaving;
mod misbehaviour;
mod models;
mod overload;
mod patience;
mod providers;
mod reach;
mod relaying;

use serde_json::{Value, json};

use crate::support::{
    client::{RawClient, Request, Response},
    described::is_described,
    gateway::{ADMIN_KEY, TestGateway},
    provider::ScriptedProvider,
};

pub(crate) const PATH: &str = "/v1/chat/completions";

/// A request for the model `m` that needs no more.
pub(crate) const BODY: &str = r#"{"model":"m"}"#;

/// A gateway, a provider that serves the model `m`, and a caller's key.
pub(crate) struct Scene {
    pub(crate) gateway: TestGateway,
    pub(crate) provider: ScriptedProvider,
    pub(crate) key: String,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let gateway = TestGateway::start_with(settings).await;
        let provider = ScriptedProvider::start().await;
        gateway.serve("m", &provider).await;
        let key = gateway.user_key().await;
        Self {
            gateway,
            provider,
            key,
        }
    }

    /// A request by the caller.
    pub(crate) fn request(&self, body: impl AsRef<[u8]>) -> Request {
        self.post(PATH).json(body)
    }

    /// A request by the caller that has no body yet.
    pub(crate) fn post(&self, target: &str) -> Request {
        Request::post(target).bearer(&self.key)
    }

    /// Asks over a connection of its own.
    pub(crate) async fn ask(&self, body: impl AsRef<[u8]>) -> Response {
        self.send(&self.request(body)).await
    }

    pub(crate) async fn send(&self, request: &Request) -> Response {
        let response = request.send_to(self.gateway.address()).await;
        is_described(request, &response).await;
        response
    }

    pub(crate) async fn connect(&self) -> RawClient {
        RawClient::connect(self.gateway.address()).await
    }

    /// A connection on which the caller has asked for the model `m`.
    pub(crate) async fn asking(&self) -> RawClient {
        let mut client = self.connect().await;
        client.send(self.request(BODY).to_bytes()).await.unwrap();
        client
    }

    /// An admin call, which must succeed.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let request = Request::new(method, path).bearer(ADMIN_KEY).value(&body);
        let response = self.send(&request).await;
        assert!(response.status() < 300, "{}", response.text());
        match response.body().is_empty() {
            true => Value::Null,
            false => response.json(),
        }
    }

    /// Makes the provider serve `name` as another of its models.
    pub(crate) async fn map(&self, name: &str, provider_model_name: &str) {
        let providers = self.admin("GET", "/admin/providers", json!(null)).await;
        let mapping = json!({
            "name": name,
            "provider_id": providers[0]["id"],
            "provider_model_name": provider_model_name,
        });
        self.admin("POST", "/admin/models", mapping).await;
    }

    /// Stops the gateway and answers its whole log.
    pub(crate) async fn stop(mut self) -> String {
        self.gateway.ask_to_stop().await;
        assert!(self.gateway.ended().await, "{}", self.gateway.log());
        self.gateway.log()
    }
}

/// The lines of a log at level WARN or above.
fn complaints(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect()
}

/// Checks an error of the gateway's own: status, type, code. Answers its message.
fn refused(response: &Response, status: u16, code: &str) -> String {
    assert_eq!(response.status(), status, "{}", response.text());
    assert!(response.is_complete());
    assert_eq!(
        response.header("content-type").as_deref(),
        Some("application/json")
    );
    let error = &response.json()["error"];
    let r#type = match status {
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    assert_eq!(error["type"], r#type, "{error}");
    assert_eq!(error["code"], code, "{error}");
    assert!(error.get("param").is_some(), "{error}");
    error["message"].as_str().unwrap().to_owned()
}
