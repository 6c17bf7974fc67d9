//! Only callers with an active key are served, and a stranger's body is never read.

use super::{BODY, PATH, Scene, refused};
use crate::support::{
    client::{Request, Response},
    gateway::PROVIDER_KEY,
    script::{Answer, framed},
    wire::End,
};

fn assert_stranger(response: &Response) -> String {
    let message = refused(response, 401, "invalid_api_key");
    assert!(message.contains("Incorrect API key provided"), "{message}");
    assert_eq!(
        response.header("www-authenticate").as_deref(),
        Some("Bearer")
    );
    message
}

#[actix_rt::test]
async fn a_caller_s_key_opens_the_gateway_and_stays_there() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(
        received.head.all("authorization"),
        [format!("Bearer {PROVIDER_KEY}")]
    );
    let raw = String::from_utf8(received.head.raw).unwrap();
    assert!(!raw.contains(&scene.key), "{raw}");
}

#[actix_rt::test]
async fn the_scheme_is_read_in_any_case() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    for scheme in ["Bearer", "bearer", "BEARER ", "bEARer"] {
        let authorization = format!("{scheme} {}", scene.key);
        let request = Request::post(PATH).header("Authorization", &authorization);
        let response = scene.send(&request.json(BODY)).await;
        assert_eq!(response.status(), 200, "{scheme}");
    }
}

#[actix_rt::test]
async fn any_other_key_is_refused_without_being_repeated() {
    let scene = Scene::start().await;
    let unknown = "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e";
    let wrong = [
        "Bearer".to_owned(),
        scene.key.clone(),
        format!("Bearer{}", scene.key),
        format!("Basic {}", scene.key),
        format!("Bearer {}x", scene.key),
        format!("Bearer {}", scene.key.to_uppercase()),
        format!("Bearer {}", &scene.key[3..]),
        format!("Bearer {} {}", scene.key, scene.key),
        format!("Bearer {unknown}"),
        "Bearer sk-proj-something-else".to_owned(),
        format!("Bearer {}", "x".repeat(5_000)),
        format!("Bearer {}", crate::support::gateway::ADMIN_KEY),
    ];
    for authorization in wrong {
        let request = Request::post(PATH).header("Authorization", &authorization);
        let response = scene.send(&request.json(BODY)).await;
        assert_stranger(&response);
        let sent = authorization.rsplit(' ').next().unwrap();
        let is_repeated = sent != "Bearer" && response.text().contains(sent);
        assert!(!is_repeated, "{}", response.text());
    }
    assert_stranger(&scene.send(&Request::post(PATH).json(BODY)).await);
    let twice = scene.post(PATH).bearer(&scene.key).json(BODY);
    assert_stranger(&scene.send(&twice).await);
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn a_revoked_key_is_refused_at_once() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let mut client = scene.connect().await;
    assert_eq!(client.exchange(&scene.request(BODY)).await.status(), 200);
    let keys = scene
        .admin("GET", "/admin/keys", serde_json::json!(null))
        .await;
    let path = format!("/admin/keys/{}", keys[0]["id"].as_str().unwrap());
    scene.admin("DELETE", &path, serde_json::json!(null)).await;
    assert_stranger(&client.exchange(&scene.request(BODY)).await);
    assert_eq!(scene.provider.request_count(), 1);
}

#[actix_rt::test]
async fn the_key_is_checked_before_the_body() {
    let scene = Scene::start().await;
    for body in ["", "not JSON", r#"{"model":"unknown"}"#] {
        assert_stranger(&scene.send(&Request::post(PATH).json(body)).await);
    }
    let compressed = Request::post(PATH).header("Content-Encoding", "gzip");
    assert_stranger(&scene.send(&compressed.json(BODY)).await);
}

#[actix_rt::test]
async fn a_stranger_is_answered_before_any_body_and_then_left() {
    let scene = Scene::start().await;
    for length in ["1", "10000000", "1000000000000"] {
        let mut client = scene.connect().await;
        let head = Request::post(PATH).header("Content-Length", length);
        client.send(head.head_bytes()).await.unwrap();
        let response = client.read_response().await;
        assert_stranger(&response);
        assert_eq!(response.header("connection").as_deref(), Some("close"));
        assert_eq!(client.server_left().await, End::Closed);
    }
}

#[actix_rt::test]
async fn a_stranger_s_endless_body_is_not_read_to_its_end() {
    let scene = Scene::start().await;
    let mut client = scene.connect().await;
    let head = Request::post(PATH).header("Transfer-Encoding", "chunked");
    client.send(head.head_bytes()).await.unwrap();
    let chunk = framed(vec![b'x'; 16 * 1024]);
    client.send(&chunk).await.unwrap();
    let response = client.read_response().await;
    assert_stranger(&response);
    assert_eq!(response.header("connection").as_deref(), Some("close"));
    // Ends with an error once the gateway has gone.
    while client.send(&chunk).await.is_ok() {}
}

#[actix_rt::test]
async fn an_unread_body_is_never_taken_for_a_request() {
    let scene = Scene::start().await;
    let hidden = scene.request(BODY).to_bytes();
    for (first, rest) in [hidden.split_at(0), hidden.split_at(40)] {
        let mut client = scene.connect().await;
        let outer = Request::post(PATH).header("Content-Length", &hidden.len().to_string());
        client
            .send([&outer.head_bytes(), first].concat())
            .await
            .unwrap();
        assert_stranger(&client.read_response().await);
        // The gateway may have gone already.
        let _ = client.send(rest).await;
        client.server_left().await;
    }
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn after_a_refusal_the_next_request_on_the_connection_is_read_right() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, r#"{"is":"mine"}"#));
    let mut client = scene.connect().await;
    // Both arrive at once, so that the second is there before the first is refused.
    let refused_one = Request::post(PATH).body("hello").to_bytes();
    let good_one = scene.request(BODY).to_bytes();
    client.send([refused_one, good_one].concat()).await.unwrap();
    assert_stranger(&client.read_response().await);
    assert_eq!(client.read_response().await.json()["is"], "mine");
}
