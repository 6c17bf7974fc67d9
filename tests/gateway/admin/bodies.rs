//! What the admin API says to bodies that it can't use.

use serde_json::json;

use super::{ADMIN_KEY, NOBODY, answer_to_head, provider, refused};
use crate::support::{
    client::{RawClient, Request},
    gateway::TestGateway,
};

const LIMIT: usize = 64 << 10;

/// Every endpoint that reads a body.
fn endpoints() -> [(&'static str, String); 6] {
    [
        ("POST", "/admin/providers".to_owned()),
        ("PUT", format!("/admin/providers/{NOBODY}")),
        ("POST", "/admin/models".to_owned()),
        ("PUT", format!("/admin/models/{NOBODY}")),
        ("POST", "/admin/keys".to_owned()),
        ("PUT", format!("/admin/keys/{NOBODY}")),
    ]
}

#[actix_rt::test]
async fn a_body_that_is_no_json_is_refused() {
    let gateway = TestGateway::start().await;
    let deep = format!("{{\"name\":{}", "[".repeat(10_000));
    let bodies: [&[u8]; 9] = [
        b"",
        b" \n",
        b"{",
        b"{\"name\": \"x\",}",
        b"{\"name\": \"x\"} {}",
        b"name=x",
        b"{\"name\": \"\xff\xfe\"}",
        b"{\"name\": \"\\ud800\"}",
        deep.as_bytes(),
    ];
    for (method, path) in endpoints() {
        for body in bodies {
            let request = Request::new(method, &path).json(body);
            let response = gateway.admin().send(request).await;
            refused(&response, 400, "invalid_json", None);
        }
    }
}

#[actix_rt::test]
async fn a_body_that_is_no_object_is_refused() {
    let gateway = TestGateway::start().await;
    for (method, path) in endpoints() {
        for body in ["[\"x\", \"openai\", \"key\"]", "\"x\"", "7", "null", "true"] {
            let request = Request::new(method, &path).json(body);
            let response = gateway.admin().send(request).await;
            let message = refused(&response, 400, "invalid_body", None);
            assert!(message.contains("must be a JSON object"), "{message}");
        }
    }
}

#[actix_rt::test]
async fn an_unknown_field_is_named_with_those_that_are_known() {
    let gateway = TestGateway::start().await;
    for (method, path) in endpoints() {
        let body = json!({"name": "x", "nmae": "y"});
        let request = Request::new(method, &path).value(&body);
        let message = refused(
            &gateway.admin().send(request).await,
            400,
            "invalid_body",
            None,
        );
        assert!(message.contains("unknown field `nmae`"), "{message}");
        assert!(message.contains("expected"), "{message}");
        assert!(message.contains("`name`"), "{message}");
    }
}

#[actix_rt::test]
async fn a_field_given_twice_is_named() {
    let gateway = TestGateway::start().await;
    for (method, path) in endpoints() {
        let request = Request::new(method, &path).json(r#"{"name": "x", "name": "y"}"#);
        let message = refused(
            &gateway.admin().send(request).await,
            400,
            "invalid_body",
            None,
        );
        assert!(message.contains("duplicate field `name`"), "{message}");
    }
}

#[actix_rt::test]
async fn a_missing_field_is_named() {
    let gateway = TestGateway::start().await;
    let model = json!({"name": "m", "provider_id": NOBODY});
    for (path, whole) in [
        ("/admin/providers", provider("p")),
        ("/admin/models", model),
        ("/admin/keys", json!({"name": "k"})),
    ] {
        for field in whole.as_object().unwrap().keys() {
            let mut body = whole.clone();
            body.as_object_mut().unwrap().remove(field);
            let response = gateway.admin().post(path, body).await;
            let message = refused(&response, 400, "missing_field", Some(field));
            assert!(
                message.contains(&format!("`{field}` is required")),
                "{message}"
            );
        }
    }
}

#[actix_rt::test]
async fn a_wrong_type_or_null_is_named_and_the_value_not_repeated() {
    let gateway = TestGateway::start().await;
    for (list, fields) in [
        (
            "providers",
            &["name", "kind", "api_key", "base_url", "is_active"][..],
        ),
        (
            "models",
            &["name", "provider_id", "provider_model_name", "is_active"],
        ),
    ] {
        let path = format!("/admin/{list}/{NOBODY}");
        for field in fields {
            for value in [
                json!(4711),
                json!(["4711"]),
                json!({"x": "4711"}),
                json!(null),
            ] {
                let clears = value.is_null() && ["base_url", "provider_model_name"].contains(field);
                let response = gateway.admin().put(&path, json!({ *field: value })).await;
                if clears {
                    // A use of null that has a meaning: only the item is missing here.
                    refused(&response, 404, "not_found", None);
                    continue;
                }
                let message = refused(&response, 400, "invalid_value", Some(field));
                assert!(message.contains("must"), "{message}");
                assert!(!message.contains("4711"), "{message}");
            }
        }
        let active = json!({"is_active": "yes"});
        let response = gateway.admin().put(&path, active).await;
        refused(&response, 400, "invalid_value", Some("is_active"));
    }
}

#[actix_rt::test]
async fn a_name_has_1_to_255_characters_and_no_control_characters() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    for (method, path) in endpoints() {
        for name in ["", "  ", "a\nb", "a\u{0}b", &"é".repeat(256)] {
            let mut body = json!({"name": name});
            if method == "POST" && path == "/admin/providers" {
                body = provider(name);
            } else if method == "POST" && path == "/admin/models" {
                body["provider_id"] = json!(NOBODY);
            }
            let response = admin.send(Request::new(method, &path).value(&body)).await;
            refused(&response, 400, "invalid_value", Some("name"));
        }
    }
    for name in ["é".repeat(255), "a/b:c".to_owned(), "通义千问".to_owned()] {
        let response = admin
            .post("/admin/keys", json!({ "name": format!(" {name}\t") }))
            .await;
        assert_eq!(response.json()["name"], json!(name));
    }
}

#[actix_rt::test]
async fn a_body_must_say_that_it_is_json() {
    let gateway = TestGateway::start().await;
    let body = r#"{"name": "ci"}"#;
    for (method, path) in endpoints() {
        let untyped = Request::new(method, &path).body(body);
        let response = gateway.admin().send(untyped.clone()).await;
        refused(&response, 415, "unsupported_media_type", None);
        for media_type in [
            "application/x-www-form-urlencoded",
            "text/json",
            "json",
            ";",
        ] {
            let request = untyped.clone().header("Content-Type", media_type);
            let response = gateway.admin().send(request).await;
            let message = refused(&response, 415, "unsupported_media_type", None);
            assert!(message.contains("application/json"), "{message}");
        }
    }
    for media_type in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/vnd.api+json",
    ] {
        let request = Request::post("/admin/keys").body(body);
        let request = request.header("Content-Type", media_type);
        assert_eq!(
            gateway.admin().send(request).await.status(),
            201,
            "{media_type}"
        );
    }
}

#[actix_rt::test]
async fn a_declared_length_over_the_limit_is_refused_before_the_body_is_read() {
    let gateway = TestGateway::start().await;
    for (method, path) in endpoints() {
        for length in [(LIMIT + 1).to_string(), "100000000000".to_owned()] {
            let request = Request::new(method, &path)
                .header("Content-Type", "application/json")
                .header("Content-Length", &length);
            let response = answer_to_head(&gateway, request.bearer(ADMIN_KEY)).await;
            let message = refused(&response, 413, "request_too_large", None);
            assert!(message.contains("65536"), "{message}");
        }
    }
}

#[actix_rt::test]
async fn a_body_without_a_declared_length_is_refused_once_it_is_over_the_limit() {
    let gateway = TestGateway::start().await;
    let spaces = vec![b' '; LIMIT / 4];
    let chunks: Vec<&[u8]> = vec![&spaces; 5];
    for (method, path) in endpoints() {
        let request = Request::new(method, &path)
            .header("Content-Type", "application/json")
            .chunked(&chunks);
        let response = gateway.admin().send(request).await;
        refused(&response, 413, "request_too_large", None);
    }
}

#[actix_rt::test]
async fn a_body_at_the_limit_and_one_in_chunks_are_read() {
    let gateway = TestGateway::start().await;
    let mut padded = br#"{"name": "padded"}"#.to_vec();
    padded.resize(LIMIT, b' ');
    let response = gateway
        .admin()
        .send(Request::post("/admin/keys").json(padded))
        .await;
    assert_eq!(response.status(), 201, "{}", response.text());

    let chunked = Request::post("/admin/keys")
        .header("Content-Type", "application/json")
        .chunked(&[b"{\"name\":", b" \"chunked\"}"]);
    let response = gateway.admin().send(chunked).await;
    assert_eq!(response.status(), 201, "{}", response.text());
}

#[actix_rt::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let request = Request::post("/admin/keys").bearer(ADMIN_KEY);
    let bytes = request.json(r#"{"name": "whole"}"#).to_bytes();
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(&bytes[..bytes.len() - 1]).await.unwrap();
    client.finish_sending().await;
    client.server_left().await;
    assert_eq!(admin.get("/admin/keys").await.text(), "[]");
}
