//! `Admin`: an operator at the admin API, or a stranger there.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::{RawClient, Request, Response};

/// Somebody who calls the admin API.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    authorization: Option<String>,
}

impl Admin {
    /// An operator with this admin key.
    pub(crate) fn with_key(address: SocketAddr, admin_key: &str) -> Self {
        Self {
            address,
            authorization: Some(format!("Bearer {admin_key}")),
        }
    }

    /// Somebody without a key.
    pub(crate) fn anonymous(address: SocketAddr) -> Self {
        Self {
            address,
            authorization: None,
        }
    }

    /// The same caller with another `Authorization` line.
    pub(crate) fn authorized_by(&self, authorization: &str) -> Self {
        Self {
            address: self.address,
            authorization: Some(authorization.to_owned()),
        }
    }

    pub(crate) fn authorization(&self) -> &str {
        self.authorization.as_deref().unwrap_or_default()
    }

    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send(Request::get(target)).await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Response {
        self.send(Request::post(target).value(body)).await
    }

    pub(crate) async fn put(&self, target: &str, body: &Value) -> Response {
        self.send(Request::new("PUT", target).value(body)).await
    }

    pub(crate) async fn delete(&self, target: &str) -> Response {
        self.send(Request::new("DELETE", target)).await
    }

    /// Sends a request of any form, with this caller's `Authorization` line.
    pub(crate) async fn send(&self, request: Request) -> Response {
        self.signed(request).send_to(self.address).await
    }

    /// Sends the head alone, whatever body it announces, and reads the answer to that.
    pub(crate) async fn send_head(&self, request: Request) -> Response {
        let mut client = self.connect().await;
        client
            .send(self.signed(request).head_bytes())
            .await
            .unwrap();
        client.read_response().await
    }

    /// A connection to the gateway.
    pub(crate) async fn connect(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    /// The request with this caller's `Authorization` line.
    pub(crate) fn signed(&self, request: Request) -> Request {
        match &self.authorization {
            Some(line) => request.header("Authorization", line),
            None => request,
        }
    }

    /// Registers a provider and answers its id.
    pub(crate) async fn register_provider(&self, body: &Value) -> String {
        self.create("/admin/providers", body).await
    }

    /// Maps a model and answers its id.
    pub(crate) async fn map_model(&self, body: &Value) -> String {
        self.create("/admin/models", body).await
    }

    /// Creates an item and answers its id.
    async fn create(&self, list: &str, body: &Value) -> String {
        let response = self.post(list, body).await;
        assert_eq!(response.status(), 201, "{}", response.text());
        response.json()["id"].as_str().unwrap().to_owned()
    }
}
