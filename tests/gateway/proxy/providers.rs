//! What a provider is sent, and how long it may take, by its kind and by what an operator fixed.

use serde_json::{Value, json};

use super::{BODY, PATH, Scene, complaints, refused};
use crate::support::{
    dead_ends::DeafAddress,
    gateway::PROVIDER_KEY,
    script::{Answer, Ending},
};

/// Changes the provider of the scene.
async fn change(scene: &Scene, change: Value) {
    let providers = scene.admin("GET", "/admin/providers", json!(null)).await;
    let path = format!("/admin/providers/{}", providers[0]["id"].as_str().unwrap());
    scene.admin("PUT", &path, change).await;
}

#[actix_rt::test]
async fn each_kind_s_key_is_sent_in_its_own_header() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let bearer = format!("Bearer {PROVIDER_KEY}");
    for (index, (kind, header, value)) in [
        ("openai", "authorization", bearer.as_str()),
        ("gemini", "authorization", &bearer),
        ("custom", "authorization", &bearer),
        ("ollama", "authorization", &bearer),
        ("azure", "api-key", PROVIDER_KEY),
        ("anthropic", "x-api-key", PROVIDER_KEY),
    ]
    .into_iter()
    .enumerate()
    {
        change(&scene, json!({"kind": kind})).await;
        assert_eq!(scene.ask(BODY).await.status(), 200);
        let received = scene.provider.request(index).await;
        for name in ["authorization", "api-key", "x-api-key"] {
            let expected = (name == header).then(|| value.to_owned());
            assert_eq!(received.header(name), expected, "{kind}: {name}");
        }
        let version = (kind == "anthropic").then(|| "2023-06-01".to_owned());
        assert_eq!(received.header("anthropic-version"), version, "{kind}");
    }
}

#[actix_rt::test]
async fn without_a_key_none_is_sent() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    change(&scene, json!({"kind": "ollama", "api_key": ""})).await;
    assert_eq!(scene.ask(BODY).await.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(received.header("authorization"), None);
}

#[actix_rt::test]
async fn a_caller_s_own_anthropic_version_counts() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    change(&scene, json!({"kind": "anthropic"})).await;
    let request = scene
        .post("/v1/messages")
        .header("anthropic-version", "2099-01-01");
    assert_eq!(scene.send(&request.json(BODY)).await.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(received.head.all("anthropic-version"), ["2099-01-01"]);
}

#[actix_rt::test]
async fn fixed_headers_are_sent_in_place_of_the_caller_s() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let headers = json!({
        "X-Title": "fixed", "OpenAI-Organization": "org-1", "anthropic-version": "2024-01-01",
    });
    change(&scene, json!({"headers": headers, "kind": "anthropic"})).await;
    let request = scene
        .post(PATH)
        .header("x-title", "mine")
        .header("X-TITLE", "mine too");
    let request = request
        .header("openai-organization", "org-mine")
        .header("x-other", "mine");
    assert_eq!(scene.send(&request.json(BODY)).await.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(received.head.all("x-title"), ["fixed"]);
    assert_eq!(received.head.all("openai-organization"), ["org-1"]);
    assert_eq!(received.head.all("anthropic-version"), ["2024-01-01"]);
    assert_eq!(received.head.all("x-other"), ["mine"]);

    change(&scene, json!({"headers": null})).await;
    assert_eq!(scene.ask(BODY).await.status(), 200);
    let received = scene.provider.request(1).await;
    assert_eq!(received.header("x-title"), None);
}

#[actix_rt::test]
async fn a_provider_s_own_limit_to_the_response_counts() {
    let scene = Scene::start().await;
    change(&scene, json!({"timeouts": {"response": "100ms"}})).await;
    scene.provider.next(Answer::silent().hang());
    let message = refused(&scene.ask(BODY).await, 504, "upstream_timeout");
    assert!(message.contains("0.1 s"), "{message}");

    // It may be longer than the settings', too.
    let scene = Scene::start_with(&[("UPSTREAM_RESPONSE_TIMEOUT", "1ms")]).await;
    change(&scene, json!({"timeouts": {"response": "1m"}})).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.asking().await;
    // Another provider runs into the settings' limit meanwhile.
    scene.gateway.serve("other", &scene.provider).await;
    scene.provider.head(0).await;
    scene.provider.next(Answer::silent().hang());
    let response = scene.ask(r#"{"model":"other"}"#).await;
    refused(&response, 504, "upstream_timeout");
    feed.stream_head();
    feed.end_chunks();
    assert_eq!(client.read_response().await.status(), 200);
}

#[actix_rt::test]
async fn a_provider_s_own_limit_to_connecting_counts() {
    let scene = Scene::start().await;
    let deaf = DeafAddress::new().await;
    let provider = scene.gateway.serve_from("deaf", &deaf.base_url()).await;
    let path = format!("/admin/providers/{provider}");
    let timeouts = json!({"timeouts": {"connect": "100ms"}});
    scene.admin("PUT", &path, timeouts).await;
    let response = scene.ask(r#"{"model":"deaf"}"#).await;
    let message = refused(&response, 502, "upstream_unreachable");
    assert!(message.contains("took too long"), "{message}");

    // Longer than the settings': the connection comes about although they allow no time at all.
    let scene = Scene::start_with(&[("UPSTREAM_CONNECT_TIMEOUT", "1ms")]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("https://{}/v1", listener.local_addr().unwrap());
    let provider = scene.gateway.serve_from("slow", &base_url).await;
    refused(
        &scene.ask(r#"{"model":"slow"}"#).await,
        502,
        "upstream_unreachable",
    );
    let path = format!("/admin/providers/{provider}");
    let timeouts = json!({"timeouts": {"connect": "1m", "response": "300ms"}});
    scene.admin("PUT", &path, timeouts).await;
    // Nobody ever answers the handshake, so the limit to the response ends it.
    let response = scene.ask(r#"{"model":"slow"}"#).await;
    refused(&response, 504, "upstream_timeout");
}

#[actix_rt::test]
async fn a_provider_s_own_limit_to_silence_counts() {
    let scene = Scene::start().await;
    change(&scene, json!({"timeouts": {"idle": "100ms"}})).await;
    scene.provider.next(Answer::stream().chunk("begun").hang());
    let response = scene.ask(BODY).await;
    assert_eq!(response.text(), "begun");
    assert!(!response.is_complete());

    let scene_with = Scene::start_with(&[("UPSTREAM_IDLE_TIMEOUT", "1ms")]).await;
    change(&scene_with, json!({"timeouts": {"idle": "1m"}})).await;
    let (answer, feed) = Answer::live();
    scene_with.provider.next(answer);
    let mut client = scene_with.asking().await;
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    // Long enough for the settings' limit: another exchange takes place meanwhile.
    scene_with.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene_with.ask(BODY).await.status(), 200);
    feed.chunk("late");
    feed.end(Ending::Close);
    let response = client.read_rest(head).await;
    assert_eq!(response.text(), "late");
    let log = scene_with.stop().await;
    assert!(
        !complaints(&log).iter().any(|line| line.contains("silent")),
        "{log}"
    );
}
