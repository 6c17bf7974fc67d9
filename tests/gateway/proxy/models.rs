//! The models that callers can ask for, in OpenAI's form.

use serde_json::{Value, json};

use super::{Scene, refused};
use crate::support::client::{Request, Response};

impl Scene {
    async fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target).bearer(&self.key)).await
    }

    async fn listed(&self) -> Vec<String> {
        let list = self.get("/v1/models").await;
        assert_eq!(list.status(), 200, "{}", list.text());
        let list = list.json();
        assert_eq!(list["object"], "list");
        let models = list["data"].as_array().unwrap();
        let name = |model: &Value| model["id"].as_str().unwrap().to_owned();
        models.iter().map(name).collect()
    }

    /// Changes a model or a provider, found by its name.
    async fn change(&self, kind: &str, name: &str, change: Value) {
        let items = self
            .admin("GET", &format!("/admin/{kind}"), json!(null))
            .await;
        let mut items = items.as_array().unwrap().iter();
        let item = items.find(|item| item["name"] == name).unwrap();
        let path = format!("/admin/{kind}/{}", item["id"].as_str().unwrap());
        match change {
            Value::Null => self.admin("DELETE", &path, change).await,
            change => self.admin("PUT", &path, change).await,
        };
    }
}

#[actix_rt::test]
async fn the_list_is_openai_s_and_has_a_name_a_time_and_a_kind() {
    let scene = Scene::start().await;
    let mapped = scene.admin("GET", "/admin/models", json!(null)).await;
    let created = mapped[0]["created_at"].as_str().unwrap();
    let created = chrono::DateTime::parse_from_rfc3339(created)
        .unwrap()
        .timestamp();
    let model = json!({"id": "m", "object": "model", "created": created, "owned_by": "openai"});
    let list = scene.get("/v1/models").await;
    assert_eq!(list.json(), json!({"object": "list", "data": [model]}));
    assert_eq!(
        list.header("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(scene.get("/v1/models/m").await.json(), model);
    let head = Request::new("HEAD", "/v1/models").bearer(&scene.key);
    let mut client = scene.connect().await;
    client.send(head.to_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status(), 200);
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn the_list_follows_every_change_at_once() {
    let scene = Scene::start().await;
    assert_eq!(scene.listed().await, ["m"]);
    scene.map("z", "z").await;
    scene.map("a/b", "z").await;
    assert_eq!(scene.listed().await, ["a/b", "m", "z"]);
    scene
        .change("models", "z", json!({"is_active": false}))
        .await;
    assert_eq!(scene.listed().await, ["a/b", "m"]);
    scene.change("models", "a/b", json!({"name": "c"})).await;
    assert_eq!(scene.listed().await, ["c", "m"]);
    scene.change("models", "m", json!(null)).await;
    assert_eq!(scene.listed().await, ["c"]);
    let provider = "provider of m";
    scene
        .change("providers", provider, json!({"kind": "gemini"}))
        .await;
    let list = scene.get("/v1/models").await.json();
    assert_eq!(list["data"][0]["owned_by"], "gemini");
    scene
        .change("providers", provider, json!({"is_active": false}))
        .await;
    assert!(scene.listed().await.is_empty());
    refused(&scene.get("/v1/models/c").await, 404, "model_not_found");
    scene
        .change("providers", provider, json!({"is_active": true}))
        .await;
    assert_eq!(scene.listed().await, ["c"]);
}

#[actix_rt::test]
async fn a_change_by_hand_reaches_the_list() {
    let scene = Scene::start().await;
    assert_eq!(scene.listed().await, ["m"]);
    let storage = scene.gateway.storage();
    storage.execute("UPDATE models SET is_active = FALSE").await;
    crate::support::soon("the list to hear of it", async {
        while !scene.listed().await.is_empty() {}
    })
    .await;
}

#[actix_rt::test]
async fn any_name_is_found_however_it_is_written() {
    let scene = Scene::start().await;
    for name in [
        "vendor/model:free",
        "a/b/c",
        "größe/通义",
        "100%",
        "a+b c",
        "%2F",
        "a?b#c",
    ] {
        scene.map(name, "x").await;
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let model = scene.get(&format!("/v1/models/{encoded}")).await;
        assert_eq!(model.status(), 200, "{name}: {}", model.text());
        assert_eq!(model.json()["id"], name);
    }
    for (written, name) in [
        ("vendor/model:free", "vendor/model:free"),
        ("vendor%2fmodel%3Afree", "vendor/model:free"),
        ("a/b%2Fc", "a/b/c"),
        ("gr%C3%B6%c3%9fe/%E9%80%9A%E4%B9%89", "größe/通义"),
        ("a+b%20c", "a+b c"),
        ("%252F", "%2F"),
        ("100%25?x=y", "100%"),
    ] {
        let model = scene.get(&format!("/v1/models/{written}")).await;
        assert_eq!(model.status(), 200, "{written}: {}", model.text());
        assert_eq!(model.json()["id"], name, "{written}");
    }
}

#[actix_rt::test]
async fn an_unknown_model_is_refused_as_a_request_for_it_would_be() {
    let scene = Scene::start().await;
    for written in ["none", "m/", "M", "%ff", "m%00", "%20m"] {
        let response = scene.get(&format!("/v1/models/{written}")).await;
        refused(&response, 404, "model_not_found");
    }
    refused(&scene.get("/v1/models/").await, 404, "unknown_url");
}

#[actix_rt::test]
async fn models_are_shown_to_callers_alone() {
    let scene = Scene::start().await;
    for target in ["/v1/models", "/v1/models/m", "/v1/models/none"] {
        refused(
            &scene.send(&Request::get(target)).await,
            401,
            "invalid_api_key",
        );
        // Anthropic's SDK asks with its own header.
        let request = Request::get(target).header("x-api-key", &scene.key);
        assert_ne!(scene.send(&request).await.status(), 401);
        for method in ["POST", "DELETE"] {
            let request = Request::new(method, target).bearer(&scene.key);
            let response = scene.send(&request).await;
            refused(&response, 405, "method_not_allowed");
            assert_eq!(response.header("allow").as_deref(), Some("GET, HEAD"));
        }
    }
}
