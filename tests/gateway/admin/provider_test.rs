//! `POST /admin/providers/{id}/test`.

use serde_json::{Value, json};

use super::{NOBODY, provider, refused, register};
use crate::support::{
    dead_ends::RefusingAddress,
    gateway::TestGateway,
    provider::ScriptedProvider,
    script::{Answer, Ending},
};

const KEY: &str = "sk-provider-key-0123456789";

struct Scene {
    gateway: TestGateway,
    provider: ScriptedProvider,
    path: String,
}

impl Scene {
    async fn start(change: Value) -> Self {
        let gateway = TestGateway::start().await;
        let scripted = ScriptedProvider::start().await;
        let mut body = provider("main");
        body["base_url"] = json!(scripted.base_url());
        for (field, value) in change.as_object().unwrap() {
            body[field] = value.clone();
        }
        let id = register(&gateway.admin(), body).await;
        Self {
            gateway,
            provider: scripted,
            path: format!("/admin/providers/{id}/test"),
        }
    }

    /// The answer, whose latency is checked and taken out.
    async fn test(&self) -> Value {
        let response = self.gateway.admin().post(&self.path, json!({})).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        assert!(!response.text().contains(KEY), "{}", response.text());
        let mut answer = response.json();
        let latency = answer.as_object_mut().unwrap().remove("latency_ms");
        assert!(latency.unwrap().is_u64());
        answer
    }

    async fn failure(&self, status: Option<u16>) -> (String, String) {
        let answer = self.test().await;
        assert_eq!(answer["ok"], false, "{answer}");
        assert_eq!(answer["status"], json!(status), "{answer}");
        assert_eq!(answer["models"], json!([]));
        let text = |field: &str| answer["error"][field].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

#[actix_rt::test]
async fn a_provider_that_answers_is_all_right_and_its_models_are_named() {
    let headers = json!({"headers": {"x-title": "fixed"}});
    let scene = Scene::start(headers).await;
    let list = r#"{"object":"list","data":[{"id":"a"},{"id":"vendor/b:free","object":"model"}]}"#;
    scene.provider.next(Answer::json(200, list));
    let expected = json!({
        "ok": true, "status": 200, "models": ["a", "vendor/b:free"], "error": null,
    });
    assert_eq!(scene.test().await, expected);
    let received = scene.provider.request(0).await;
    assert_eq!(
        (received.method(), received.target()),
        ("GET", "/v1/models")
    );
    let authorization = received.header("authorization");
    assert_eq!(authorization, Some(format!("Bearer {KEY}")));
    assert_eq!(received.header("x-title").as_deref(), Some("fixed"));
    assert_eq!(received.header("accept-encoding"), None);
}

#[actix_rt::test]
async fn it_is_asked_in_the_way_of_its_kind_and_even_while_it_is_inactive() {
    let scene = Scene::start(json!({"kind": "anthropic"})).await;
    let admin = scene.gateway.admin();
    let path = scene.path.trim_end_matches("/test");
    admin.put(path, json!({"is_active": false})).await;
    scene.provider.next(Answer::json(200, r#"[{"id":"a"}]"#));
    assert_eq!(scene.test().await["models"], json!(["a"]));
    let received = scene.provider.request(0).await;
    assert_eq!(received.header("x-api-key").as_deref(), Some(KEY));
    let version = received.header("anthropic-version");
    assert_eq!(version.as_deref(), Some("2023-06-01"));
}

#[actix_rt::test]
async fn a_provider_s_refusal_is_named_and_not_repeated() {
    let scene = Scene::start(json!({})).await;
    for status in [401, 403, 404, 429, 500, 307] {
        let body = format!(r#"{{"error":{{"message":"Incorrect API key: {KEY}"}}}}"#);
        scene.provider.next(Answer::json(status, body));
        let (code, message) = scene.failure(Some(status)).await;
        assert_eq!(code, "upstream_error");
        assert!(message.contains(&status.to_string()), "{message}");
    }
}

#[actix_rt::test]
async fn what_is_no_list_of_models_is_told() {
    let scene = Scene::start(json!({})).await;
    let long = format!(r#"{{"data":[],"x":"{}"}}"#, "x".repeat(9 << 20));
    for body in ["<html>", "{}", "", "{\"data\":[{\"name\":\"x\"}]}", &long] {
        scene.provider.next(Answer::json(200, body));
        let (code, _) = scene.failure(Some(200)).await;
        assert_eq!(code, "upstream_invalid_response");
    }
    let answer = Answer::stream().chunk("{\"data\":[").end(Ending::Cut);
    scene.provider.next(answer);
    let (code, _) = scene.failure(Some(200)).await;
    assert_eq!(code, "upstream_invalid_response");
    scene.provider.next(Answer::raw("garbage\r\n\r\n").hang());
    let (code, _) = scene.failure(None).await;
    assert_eq!(code, "upstream_invalid_response");
}

#[actix_rt::test]
async fn a_long_list_is_shown_in_part() {
    let scene = Scene::start(json!({})).await;
    let models: Vec<_> = (0..1500)
        .map(|number| json!({"id": format!("m{number}")}))
        .collect();
    scene
        .provider
        .next(Answer::json(200, json!({"data": models}).to_string()));
    let answer = scene.test().await;
    assert_eq!(answer["models"].as_array().unwrap().len(), 1000);
}

#[actix_rt::test]
async fn a_provider_that_is_not_there_is_unreachable() {
    let refusing = RefusingAddress::new();
    let scene = Scene::start(json!({"base_url": refusing.base_url()})).await;
    assert_eq!(scene.failure(None).await.0, "upstream_unreachable");
    let scene = Scene::start(json!({"base_url": "http://gateway.invalid/v1"})).await;
    assert_eq!(scene.failure(None).await.0, "upstream_unreachable");
    let scene = Scene::start(json!({"base_url": "http://169.254.169.254/v1"})).await;
    assert_eq!(scene.failure(None).await.0, "upstream_address_refused");
}

#[actix_rt::test]
async fn a_provider_that_hangs_is_given_up() {
    let scene = Scene::start(json!({"timeouts": {"response": "100ms"}})).await;
    scene.provider.next(Answer::silent().hang());
    assert_eq!(scene.failure(None).await.0, "upstream_timeout");
}

#[actix_rt::test]
async fn only_a_provider_that_exists_is_tested_and_only_by_post() {
    let scene = Scene::start(json!({})).await;
    let admin = scene.gateway.admin();
    let unknown = format!("/admin/providers/{NOBODY}/test");
    refused(
        &admin.post(&unknown, json!({})).await,
        404,
        "not_found",
        None,
    );
    let get = admin.get(&scene.path).await;
    refused(&get, 405, "method_not_allowed", None);
    assert_eq!(get.header("allow").as_deref(), Some("POST"));
    assert_eq!(scene.provider.connection_count(), 0);
}
