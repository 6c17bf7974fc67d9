//! A caller's body arrives at the provider byte for byte but for its model, or is refused.

use serde_json::json;

use super::{BODY, PATH, Scene, refused};
use crate::support::{
    client::Request,
    gateway::ADMIN_KEY,
    http::sha256,
    script::{Answer, framed},
};

/// White space, escapes, numbers, duplicates and nested models that must survive.
const ODD: &str = "{ \"z\":1.0,\t\"n\":12345678901234567890.10e-400,\r\n\"x\":{\"model\":\"alias\"},\
     \"d\":1,\"d\":2,\"s\":\"\\u00e9\u{e9}\\/\\ud800\",\"stream\":\"maybe\", \"model\" : \"alias\" , \"a\":[]}\n";

#[actix_rt::test]
async fn only_the_model_s_value_changes_on_the_way() {
    let scene = Scene::start().await;
    scene.map("alias", "vendor/\"通义\":free").await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));

    assert_eq!(scene.ask(ODD).await.status(), 200);
    let expected = ODD.replace(
        r#""model" : "alias""#,
        r#""model" : "vendor/\"通义\":free""#,
    );
    assert_eq!(scene.provider.request(0).await.text(), expected);

    let escaped = r#"{"mod\u0065l":"\u0061lias"}"#;
    assert_eq!(scene.ask(escaped).await.status(), 200);
    let expected = r#"{"mod\u0065l":"vendor/\"通义\":free"}"#;
    assert_eq!(scene.provider.request(1).await.text(), expected);
}

#[actix_rt::test]
async fn a_model_that_keeps_its_name_keeps_its_spelling() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    for (index, body) in [r#" {"model":"\u006d","x":1E5}"#, BODY]
        .into_iter()
        .enumerate()
    {
        assert_eq!(scene.ask(body).await.status(), 200);
        assert_eq!(scene.provider.request(index).await.text(), body);
    }
}

#[actix_rt::test]
async fn a_large_body_arrives_whole() {
    let scene = Scene::start().await;
    scene.map("alias", "m2").await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let filler = "0123456789abcdef".repeat(20 << 16);
    let body = |model| format!(r#"{{"a":"{filler}","model":"{model}","b":"{filler}"}}"#);
    assert!(body("alias").len() > 32 << 20);
    let limited = scene.ask(body("alias")).await;
    refused(&limited, 413, "request_too_large");

    let filler = &filler[..4 << 20];
    let body = |model| format!(r#"{{"a":"{filler}","model":"{model}","b":"{filler}"}}"#);
    assert_eq!(scene.ask(body("alias")).await.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(received.sha256(), sha256(body("m2").as_bytes()));
}

#[actix_rt::test]
async fn a_chunked_body_is_sent_on_with_its_length() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    let chunks: [&[u8]; 3] = [b"{\"mod", b"el\":\"m\"", b"}"];
    let response = scene.send(&scene.post(PATH).chunked(&chunks)).await;
    assert_eq!(response.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(received.text(), BODY);
    assert_eq!(received.header("content-length").as_deref(), Some("13"));
    assert_eq!(received.header("transfer-encoding"), None);
}

#[actix_rt::test]
async fn a_body_without_a_content_type_is_read_all_the_same() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    let response = scene.send(&scene.post(PATH).body(BODY)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(scene.provider.request(0).await.header("content-type"), None);
}

#[actix_rt::test]
async fn a_body_that_can_t_be_used_is_refused_with_its_own_code() {
    let scene = Scene::start().await;
    let deep = format!(
        r#"{{"model":"m","x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let cases: [(&[u8], &str); 22] = [
        (b"", "invalid_json"),
        (b" \n", "invalid_json"),
        (b"hello", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"null", "invalid_json"),
        (br#""model""#, "invalid_json"),
        (br#"{"model":"m""#, "invalid_json"),
        (br#"{"model":"m"} x"#, "invalid_json"),
        (br#"{"model":"m"}{"model":"m"}"#, "invalid_json"),
        (br#"{"model":"m","x":01}"#, "invalid_json"),
        (br#"{'model':'m'}"#, "invalid_json"),
        (b"\xef\xbb\xbf{\"model\":\"m\"}", "invalid_json"),
        (b"{\"model\":\"m\",\"x\":\"\xff\"}", "invalid_json"),
        (b"{\"model\":\"m\",\"x\":\"\xed\xa0\x80\"}", "invalid_json"),
        (deep.as_bytes(), "invalid_json"),
        (b"{}", "missing_model"),
        (br#"{"x":{"model":"m"}}"#, "missing_model"),
        (br#"{"model":null}"#, "invalid_model"),
        (br#"{"model":["m"]}"#, "invalid_model"),
        (br#"{"model":"m","model":"m"}"#, "invalid_model"),
        (br#"{"model":"m","mod\u0065l":"m"}"#, "invalid_model"),
        (br#"{"model":"\ud800"}"#, "invalid_model"),
    ];
    // One connection: none of it disturbs what follows.
    let mut client = scene.connect().await;
    for (body, code) in cases {
        let response = client.exchange(&scene.request(body)).await;
        refused(&response, 400, code);
        if code != "invalid_json" {
            assert_eq!(response.json()["error"]["param"], "model");
        }
    }
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn an_unmapped_or_inactive_model_does_not_exist() {
    let scene = Scene::start().await;
    scene.map("gone", "m").await;
    scene.map("off", "m").await;
    let models = scene.admin("GET", "/admin/models", json!(null)).await;
    let path_of = |name: &str| {
        let mut models = models.as_array().unwrap().iter();
        let model = models.find(|model| model["name"] == name).unwrap();
        format!("/admin/models/{}", model["id"].as_str().unwrap())
    };
    scene.admin("DELETE", &path_of("gone"), json!(null)).await;
    let inactive = json!({"is_active": false});
    scene.admin("PUT", &path_of("off"), inactive.clone()).await;
    for model in ["gone", "off", "never", "M", " m", "m\\n", "\\u0000", ""] {
        let response = scene.ask(format!(r#"{{"model":"{model}"}}"#)).await;
        let message = refused(&response, 404, "model_not_found");
        let shown: String = serde_json::from_str(&format!("\"{model}\"")).unwrap();
        assert!(
            message.contains(&format!("`{shown}` does not exist")),
            "{message}"
        );
        assert_eq!(response.json()["error"]["param"], "model");
    }

    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
    let providers = scene.admin("GET", "/admin/providers", json!(null)).await;
    let path = format!("/admin/providers/{}", providers[0]["id"].as_str().unwrap());
    scene.admin("PUT", &path, inactive).await;
    refused(&scene.ask(BODY).await, 404, "model_not_found");
    assert_eq!(scene.provider.request_count(), 1);
}

#[actix_rt::test]
async fn a_name_too_long_for_a_model_is_not_repeated_in_full() {
    let scene = Scene::start().await;
    let response = scene
        .ask(format!(r#"{{"model":"{}"}}"#, "é".repeat(1 << 20)))
        .await;
    let message = refused(&response, 404, "model_not_found");
    assert!(
        message.contains(&format!("`{}…`", "é".repeat(255))),
        "{message}"
    );
}

#[actix_rt::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let scene = Scene::start().await;
    let mut client = scene.connect().await;
    let length = (33 << 20).to_string();
    let head = scene.post(PATH).header("Content-Length", &length);
    client.send(head.head_bytes()).await.unwrap();
    let response = client.read_response().await;
    let message = refused(&response, 413, "request_too_large");
    assert!(message.contains("33554432"), "{message}");
    client.server_left().await;
}

#[actix_rt::test]
async fn a_chunked_body_over_the_limit_is_not_read_to_its_end() {
    let scene = Scene::start_with(&[("MAX_BODY_BYTES", "64KiB")]).await;
    let mut client = scene.connect().await;
    let head = scene.post(PATH).header("Transfer-Encoding", "chunked");
    client.send(head.head_bytes()).await.unwrap();
    let chunk = framed(vec![b' '; 16 * 1024]);
    for _ in 0..5 {
        client.send(&chunk).await.unwrap();
    }
    refused(&client.read_response().await, 413, "request_too_large");
    while client.send(&chunk).await.is_ok() {}
}

#[actix_rt::test]
async fn a_body_of_exactly_the_limit_passes() {
    let scene = Scene::start_with(&[("MAX_BODY_BYTES", "1KiB")]).await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let body = |length: usize| format!("{BODY}{}", " ".repeat(length - BODY.len()));
    for request in [
        scene.request(body(1024)),
        scene.post(PATH).chunked(&[body(1024).as_bytes()]),
    ] {
        assert_eq!(scene.send(&request).await.status(), 200);
    }
    for request in [
        scene.request(body(1025)),
        scene.post(PATH).chunked(&[body(1025).as_bytes()]),
    ] {
        refused(&scene.send(&request).await, 413, "request_too_large");
    }
}

#[actix_rt::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let scene = Scene::start_with(&[("CLIENT_BODY_TIMEOUT", "100ms")]).await;
    for head in [
        scene.post(PATH).header("Content-Length", "1000"),
        scene.post(PATH).header("Transfer-Encoding", "chunked"),
    ] {
        for begun in [&b""[..], b"5\r\n{\"mod"] {
            let mut client = scene.connect().await;
            let bytes = [&head.head_bytes()[..], begun].concat();
            client.send(bytes).await.unwrap();
            let response = client.read_response().await;
            let message = refused(&response, 408, "request_timeout");
            assert!(message.contains("0.1 s"), "{message}");
            assert_eq!(response.header("connection").as_deref(), Some("close"));
            client.server_left().await;
        }
    }
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn websocket_is_refused_before_the_body_is_read() {
    let scene = Scene::start().await;
    let head = |key: &str, path: &str| {
        let request = Request::post(path).bearer(key);
        let request = request.header("Connection", "upgrade");
        request.header("Upgrade", "WebSocket").json(BODY)
    };
    for (path, key, status, code) in [
        (PATH, "sk-stranger", 401, "invalid_api_key"),
        (PATH, &scene.key, 400, "unsupported_upgrade"),
        ("/admin/keys", "stranger", 401, "invalid_api_key"),
        ("/admin/keys", ADMIN_KEY, 400, "unsupported_upgrade"),
    ] {
        let mut client = scene.connect().await;
        client.send(head(key, path).to_bytes()).await.unwrap();
        let response = client.read_response().await;
        refused(&response, status, code);
        client.server_left().await;
    }
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn an_upgrade_that_leaves_the_body_its_end_is_ignored() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let asking = |upgrade: &str| {
        let request = scene.post(PATH).header("Connection", "upgrade");
        request.header("Upgrade", upgrade)
    };
    for request in [
        asking("h2c").json(BODY),
        asking("websocket").chunked(&[BODY.as_bytes()]),
    ] {
        let mut client = scene.connect().await;
        let response = client.exchange(&request).await;
        assert_eq!(response.status(), 200);
        // The server keeps no connection on which an upgrade was asked for, and says so.
        assert_eq!(response.header("connection").as_deref(), Some("close"));
        client.server_left().await;
    }
    for index in 0..2 {
        let received = scene.provider.request(index).await;
        assert_eq!(received.header("upgrade"), None);
        assert_eq!(received.text(), BODY);
    }
}

#[actix_rt::test]
async fn a_compressed_body_is_refused_and_told_so() {
    let scene = Scene::start().await;
    let request = scene.post(PATH).header("Content-Encoding", "gzip");
    let response = scene.send(&request.json("\x1f\x08")).await;
    let message = refused(&response, 415, "unsupported_media_type");
    assert!(message.contains("Content-Encoding"), "{message}");

    scene.provider.next(Answer::json(200, "{}"));
    let request = scene.post(PATH).header("Content-Encoding", "identity");
    assert_eq!(scene.send(&request.json(BODY)).await.status(), 200);
}

#[actix_rt::test]
async fn a_body_that_never_ends_reaches_no_provider() {
    let scene = Scene::start().await;
    for head in [
        scene.post(PATH).header("Content-Length", "1000"),
        scene.post(PATH).header("Transfer-Encoding", "chunked"),
    ] {
        let mut client = scene.connect().await;
        let bytes = [&head.head_bytes()[..], b"5\r\n{\"mod"].concat();
        client.send(bytes).await.unwrap();
        client.leave();
    }
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
    assert_eq!(scene.provider.request_count(), 1);
}

#[actix_rt::test]
async fn another_path_or_method_is_named_in_the_refusal() {
    let scene = Scene::start().await;
    for path in ["/v1", "/v1/", "/v1/chat/completions/", "/v2/x", "/"] {
        let response = scene.send(&scene.post(path).json(BODY)).await;
        let message = refused(&response, 404, "unknown_url");
        assert!(message.contains(&format!("POST {path}")), "{message}");
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = Request::new(method, PATH).bearer(&scene.key);
        let response = scene.send(&request).await;
        refused(&response, 405, "method_not_allowed");
        assert_eq!(response.header("allow").as_deref(), Some("POST"));
    }
    assert_eq!(scene.provider.connection_count(), 0);
}
