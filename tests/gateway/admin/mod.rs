//! The admin API: every endpoint, every field, every refusal.

mod access;
mod audit;
mod bodies;
mod keys;
mod lists;
mod models;
mod provider_test;
mod providers;

use serde_json::{Value, json};

use crate::support::{
    client::{RawClient, Request, Response},
    gateway::{ADMIN_KEY, Admin, TestGateway},
};

/// An id that nothing has.
pub(crate) const NOBODY: &str = "0198c5a2-7f3e-7000-8000-000000000001";

/// Checks the whole error envelope, and answers its message.
fn refused(response: &Response, status: u16, code: &str, param: Option<&str>) -> String {
    assert_eq!(response.status(), status, "{}", response.text());
    assert_eq!(
        response.header("content-type").as_deref(),
        Some("application/json")
    );
    let body = response.json();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{body}");
    let expected = json!({"error": {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }});
    assert_eq!(body, expected);
    message.to_owned()
}

/// Checks an item that was created or changed, and answers it.
fn item(response: &Response, status: u16) -> Value {
    assert_eq!(response.status(), status, "{}", response.text());
    let item = response.json();
    assert_is_id(&item["id"]);
    for time in ["created_at", "updated_at"] {
        assert_is_utc_time(&item[time]);
    }
    item
}

fn assert_is_id(id: &Value) {
    let id = id.as_str().unwrap_or_default();
    assert!(uuid::Uuid::try_parse(id).is_ok() && id.len() == 36, "{id}");
}

fn assert_is_utc_time(time: &Value) {
    let text = time.as_str().unwrap_or_default();
    let parsed = chrono::DateTime::parse_from_rfc3339(text);
    let always_as_long = text.len() == "2026-01-31T12:00:00.123456Z".len();
    assert!(
        parsed.is_ok() && text.ends_with('Z') && always_as_long,
        "{time}"
    );
}

fn field_names(item: &Value) -> Vec<&str> {
    let fields = item.as_object().unwrap();
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Registers a provider and answers its id.
async fn register(admin: &Admin, body: Value) -> String {
    create(admin, "/admin/providers", body).await
}

/// Maps a model and answers its id.
async fn map(admin: &Admin, body: Value) -> String {
    create(admin, "/admin/models", body).await
}

async fn create(admin: &Admin, list: &str, body: Value) -> String {
    let created = item(&admin.post(list, body).await, 201);
    created["id"].as_str().unwrap().to_owned()
}

/// What the gateway answers to a head alone, whatever body it announces.
async fn answer_to_head(gateway: &TestGateway, request: Request) -> Response {
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(request.head_bytes()).await.unwrap();
    client.read_response().await
}

fn provider(name: &str) -> Value {
    json!({"name": name, "kind": "openai", "api_key": "sk-provider-key-0123456789"})
}
