//! The access log: one line for each request, when it is over, in both formats.

use serde_json::json;

use super::lines::{Format, Line, access_line, access_lines, line_of_outcome};
use crate::{
    proxy::{BODY, PATH, Scene},
    support::{
        client::{Request, Response},
        dead_ends::RefusingAddress,
        gateway::{ADMIN_KEY, TestGateway},
        script::{Answer, Ending, STREAM_HEAD},
    },
};

const STREAMED: &str = r#"{"model":"m","stream":true}"#;

async fn start(format: Format, settings: &[(&str, &str)]) -> Scene {
    Scene::start_with(&[&[format.setting()], settings].concat()).await
}

async fn line(scene: &Scene, format: Format, response: &Response) -> Line {
    let id = response.header("x-gateway-request-id").unwrap();
    let line = access_line(&scene.gateway, format, &id).await;
    assert_eq!(line.number("status"), u64::from(response.status()));
    line
}

/// A line says what it is about, and everything in the order of things.
fn check_times(line: &Line) {
    let whole = line.number("duration_us");
    assert!(line.number("overhead_us") <= whole, "{line:?}");
    assert!(line.number("first_byte_us") <= whole, "{line:?}");
}

#[actix_rt::test]
async fn a_request_that_was_answered_is_a_line_with_all_there_is_to_know() {
    for format in Format::BOTH {
        let scene = start(format, &[]).await;
        scene.map("alias", "what the provider calls it").await;
        let headers = [("x-request-id", "req-\"1\" outcome=forged")];
        scene
            .provider
            .otherwise(move |_| Answer::with_headers(200, &headers, "the answer"));
        let keys = scene.admin("GET", "/admin/keys", json!(null)).await;
        let body = r#"{"model":"alias"}"#;
        let mut client = scene.connect().await;
        for connection in ["new", "reused"] {
            let response = client.exchange(&scene.request(body)).await;
            let line = line(&scene, format, &response).await;
            assert_eq!(line.level, "INFO");
            for (key, expected) in [
                ("method", "POST"),
                ("endpoint", PATH),
                ("status", "200"),
                ("outcome", "complete"),
                ("key_id", keys[0]["id"].as_str().unwrap()),
                ("key_name", "test"),
                ("model", "alias"),
                ("provider", "provider of m"),
                ("upstream_model", "what the provider calls it"),
                ("streamed", "false"),
                ("upstream_request_id", "req-\"1\" outcome=forged"),
                ("connection", connection),
                ("bytes_in", "17"),
                ("bytes_out", "10"),
            ] {
                assert_eq!(line.get(key), expected, "{key} in {line:?}");
            }
            assert!(!line.has("code") && !line.has("retried"), "{line:?}");
            check_times(&line);
        }
    }
}

#[actix_rt::test]
async fn a_stream_is_one_line_at_its_end() {
    let format = Format::Text;
    let scene = start(format, &[]).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.connect().await;
    let request = scene.request(STREAMED);
    client.send(request.to_bytes()).await.unwrap();
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    feed.chunk("data: 1\n\n");
    client.next_data().await;
    let id = head.header("x-gateway-request-id").unwrap();
    assert!(!scene.gateway.log().contains(&id));
    feed.chunk("data: 2\n\n");
    feed.end_chunks();
    let response = client.read_rest(head).await;
    let line = line(&scene, format, &response).await;
    assert_eq!(line.get("streamed"), "true");
    assert_eq!(line.get("outcome"), "complete");
    assert_eq!(line.number("bytes_out"), 18);
    check_times(&line);
}

#[actix_rt::test]
async fn a_connection_that_died_and_was_replaced_shows() {
    let format = Format::Json;
    let scene = start(format, &[]).await;
    let mut client = scene.connect().await;
    scene.provider.next(Answer::json(200, "{}"));
    client.exchange(&scene.request(BODY)).await;
    scene.provider.next(Answer::silent().end(Ending::Close));
    scene.provider.next(Answer::json(200, "{}"));
    let response = client.exchange(&scene.request(BODY)).await;
    let line = line(&scene, format, &response).await;
    assert_eq!(line.get("retried"), "true");
    assert_eq!(line.get("connection"), "new");
}

#[actix_rt::test]
async fn what_the_gateway_refuses_is_a_line_with_the_code() {
    for format in Format::BOTH {
        let scene = start(format, &[("MAX_BODY_BYTES", "100")]).await;
        let (long, unmapped) = (format!("{BODY:101}"), r#"{"model":"nope"}"#);
        for (request, status, code, endpoint) in [
            (Request::post(PATH).json(BODY), 401, "invalid_api_key", PATH),
            (scene.request(unmapped), 404, "model_not_found", PATH),
            (scene.request(long), 413, "request_too_large", PATH),
            (scene.request("{"), 400, "invalid_json", PATH),
            (Request::get(PATH), 405, "method_not_allowed", PATH),
            (Request::get("/v1/nope"), 404, "unknown_url", "/v1"),
            (
                Request::get("/nope?sk-secret"),
                404,
                "unknown_url",
                "unknown",
            ),
            (Request::new("BREW", "/tea"), 404, "unknown_url", "unknown"),
            (
                Request::get("/admin/keys"),
                401,
                "invalid_api_key",
                "/admin",
            ),
        ] {
            let response = scene.send(&request).await;
            let line = line(&scene, format, &response).await;
            assert_eq!(line.number("status"), status, "{line:?}");
            assert_eq!(line.get("outcome"), "refused", "{line:?}");
            assert_eq!(line.get("code"), code, "{line:?}");
            assert_eq!(line.get("endpoint"), endpoint, "{line:?}");
            assert_eq!(line.get("bytes_out"), response.body().len().to_string());
            for unknown in ["model", "provider", "overhead_us", "connection"] {
                assert!(!line.has(unknown), "{line:?}");
            }
            // Whose request it was is known where the key was looked at.
            assert_eq!(
                line.has("key_id"),
                matches!(status, 400 | 413) || code == "model_not_found"
            );
        }
        assert_eq!(
            access_lines(&scene.gateway, format)
                .last()
                .unwrap()
                .get("method"),
            "GET"
        );
        let log = scene.gateway.log();
        for private in ["sk-secret", "nope", "BREW", "tea", scene.key.as_str()] {
            assert!(!log.contains(private), "{private}");
        }
    }
}

#[actix_rt::test]
async fn what_goes_wrong_at_the_provider_has_outcomes_of_its_own() {
    let limits = [
        ("UPSTREAM_RESPONSE_TIMEOUT", "200ms"),
        ("UPSTREAM_IDLE_TIMEOUT", "200ms"),
    ];
    for format in Format::BOTH {
        let scene = start(format, &limits).await;
        let nowhere = RefusingAddress::new();
        scene.gateway.serve_from("gone", &nowhere.base_url()).await;
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun";
        for (model, answer, status, outcome, code) in [
            (
                "gone",
                None,
                502,
                "upstream_error",
                Some("upstream_unreachable"),
            ),
            (
                "m",
                Some(Answer::raw("garbage\r\n\r\n")),
                502,
                "upstream_error",
                Some("upstream_invalid_response"),
            ),
            (
                "m",
                Some(Answer::silent().hang()),
                504,
                "timeout",
                Some("upstream_timeout"),
            ),
            ("m", Some(Answer::raw(ok).hang()), 200, "timeout", None),
            (
                "m",
                Some(Answer::raw(ok).end(Ending::Close)),
                200,
                "upstream_cut",
                None,
            ),
            ("m", Some(Answer::json(429, "{}")), 429, "complete", None),
        ] {
            if let Some(answer) = answer {
                scene.provider.next(answer);
            }
            let body = json!({"model": model}).to_string();
            let response = scene.ask(body).await;
            let line = line(&scene, format, &response).await;
            assert_eq!(line.number("status"), status, "{line:?}");
            assert_eq!(line.get("outcome"), outcome, "{line:?}");
            assert_eq!(
                line.fields.get("code").map(String::as_str),
                code,
                "{line:?}"
            );
            assert_eq!(line.get("model"), model);
        }
    }
}

#[actix_rt::test]
async fn a_failure_in_a_stream_that_began_before_its_provider_shows_too() {
    let format = Format::Text;
    let scene = start(format, &[("SSE_KEEPALIVE", "10s")]).await;
    let nowhere = RefusingAddress::new();
    scene.gateway.serve_from("gone", &nowhere.base_url()).await;
    scene.provider.next(Answer::json(429, r#"{"error":{}}"#));
    for (model, code) in [("gone", "upstream_unreachable"), ("m", "upstream_error")] {
        let body = json!({"model": model, "stream": true}).to_string();
        let response = scene.ask(body).await;
        assert_eq!(response.status(), 200);
        let line = line(&scene, format, &response).await;
        assert_eq!(line.get("outcome"), "upstream_error", "{line:?}");
        assert_eq!(line.get("code"), code, "{line:?}");
    }
    scene
        .provider
        .next(Answer::stream().chunk("data: 1\n\n").end_chunks());
    let response = scene.ask(STREAMED).await;
    let line = line(&scene, format, &response).await;
    assert_eq!(line.get("outcome"), "complete");
    assert!(line.number("first_byte_us") <= line.number("duration_us"));
}

#[actix_rt::test]
async fn the_first_byte_is_the_provider_s_and_no_comment() {
    let format = Format::Text;
    let scene = start(format, &[("SSE_KEEPALIVE", "20ms")]).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.connect().await;
    let request = scene.request(STREAMED);
    client.send(request.to_bytes()).await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(client.next_data().await, b": keep-alive\n\n");
    feed.send(format!("{STREAM_HEAD}7\r\ndata: 1\r\n"));
    feed.end_chunks();
    let response = client.read_rest(head).await;
    let line = line(&scene, format, &response).await;
    // That is when the first comment came.
    assert!(line.number("first_byte_us") >= 20_000, "{line:?}");
    assert!(line.number("overhead_us") <= line.number("duration_us"));
}

#[actix_rt::test]
async fn a_client_that_leaves_is_a_line_whenever_it_left() {
    for format in Format::BOTH {
        let scene = start(format, &[]).await;
        scene.provider.next(Answer::silent().hang());
        let client = scene.asking().await;
        scene.provider.request(0).await;
        client.leave();
        let line = line_of_outcome(&scene.gateway, format, "client_gone").await;
        assert!(!line.has("status"), "{line:?}");
        assert_eq!(line.get("model"), "m");

        let scene = start(format, &[]).await;
        scene.provider.next(Answer::stream().chunk("begun").hang());
        let mut client = scene.asking().await;
        client.read_head().await.unwrap();
        client.next_data().await;
        client.reset();
        let line = line_of_outcome(&scene.gateway, format, "client_gone").await;
        assert_eq!(line.get("status"), "200");
        assert_eq!(line.get("bytes_out"), "5");

        // In the middle of its own request.
        let scene = start(format, &[]).await;
        let mut client = scene.connect().await;
        let upload = scene.post(PATH).header("Content-Length", "100");
        client.send(upload.head_bytes()).await.unwrap();
        client.send("{").await.unwrap();
        client.leave();
        let line = loop_until_line(&scene, format).await;
        assert!(
            ["client_gone", "refused"].contains(&line.get("outcome")),
            "{line:?}"
        );
    }
}

/// The line of the only request for the data path.
async fn loop_until_line(scene: &Scene, format: Format) -> Line {
    scene.gateway.logged(PATH).await;
    let lines = access_lines(&scene.gateway, format);
    let mut lines = lines
        .into_iter()
        .filter(|line| line.get("endpoint") == PATH);
    lines.next().unwrap()
}

#[actix_rt::test]
async fn admin_calls_are_lines_and_questions_after_health_are_not() {
    let mut gateway = TestGateway::start().await;
    let keys = Request::get("/admin/keys?limit=7").bearer(ADMIN_KEY);
    let listed = keys.send_to(gateway.address()).await;
    let id = listed.header("x-gateway-request-id").unwrap();
    let line = access_line(&gateway, Format::Text, &id).await;
    assert_eq!(line.get("endpoint"), "/admin/keys");
    assert_eq!(line.get("outcome"), "complete");
    let id = "0192b6c4-9a51-7c4e-8d3e-0123456789ab";
    let key = Request::get(&format!("/admin/keys/{id}")).bearer(ADMIN_KEY);
    key.send_to(gateway.address()).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        Request::get(path)
            .bearer(ADMIN_KEY)
            .send_to(gateway.address())
            .await;
    }
    gateway.ask_to_stop().await;
    assert!(gateway.ended().await);
    let endpoints: Vec<_> = access_lines(&gateway, Format::Text)
        .iter()
        .map(|line| line.get("endpoint").to_owned())
        .collect();
    assert_eq!(endpoints, ["/admin/keys", "/admin/keys/{id}"]);
    for private in ["limit=7", id] {
        assert!(!gateway.log().contains(private));
    }
}

#[actix_rt::test]
async fn the_access_log_can_be_switched_off_alone() {
    let scene = Scene::start_with(&[("RUST_LOG", "info,access=off")]).await;
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
    let log = scene.stop().await;
    assert!(log.contains("listening on") && log.contains("stopped"));
    assert!(!log.contains(" access]"), "{log}");
}
