//! A provider that gives no usable answer: each failure has its status and code.

use super::{BODY, PATH, Scene, complaints, refused};
use crate::support::{
    client::{Request, Response},
    dead_ends::{DeafAddress, RefusingAddress},
    gateway::{PROVIDER_KEY, TestGateway},
    provider::ScriptedProvider,
    script::{Answer, Ending},
    tls::UNTRUSTED,
};

/// Asks for a model that is served from an address.
async fn ask_at(scene: &Scene, model: &str, base_url: &str) -> Response {
    scene.gateway.serve_from(model, base_url).await;
    scene.ask(format!(r#"{{"model":"{model}"}}"#)).await
}

/// Checks that refusals give nothing away, and that each is in the log once, with its provider.
async fn assert_discreet_and_logged(scene: Scene, responses: &[Response]) {
    let key = scene.key.clone();
    let log = scene.stop().await;
    for secret in [PROVIDER_KEY, &key] {
        assert!(!log.contains(secret), "{log}");
    }
    for response in responses {
        let text = response.text();
        for secret in ["127.0.0.1", ".invalid", "provider of m", PROVIDER_KEY, &key] {
            assert!(!text.contains(secret), "{text}");
        }
        let id = response.header("x-gateway-request-id").unwrap();
        let lines = complaints(&log);
        let lines: Vec<_> = lines.iter().filter(|line| line.contains(&id)).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("provider of m"), "{log}");
    }
}

#[actix_rt::test]
async fn a_provider_without_a_connection_is_unreachable() {
    let scene = Scene::start_with(&[("UPSTREAM_CONNECT_TIMEOUT", "200ms")]).await;
    let refusing = RefusingAddress::new();
    let deaf = DeafAddress::new().await;
    let responses = [
        ask_at(&scene, "m1", &refusing.base_url()).await,
        ask_at(&scene, "m2", &deaf.base_url()).await,
        ask_at(&scene, "m3", "http://gateway.invalid/v1").await,
    ];
    for response in &responses {
        refused(response, 502, "upstream_unreachable");
    }
    assert_discreet_and_logged(scene, &responses).await;
}

#[actix_rt::test]
async fn a_provider_that_can_t_prove_who_it_is_is_unreachable() {
    let scene = Scene::start().await;
    let untrusted = ScriptedProvider::start_tls(&UNTRUSTED).await;
    let response = ask_at(&scene, "m1", &untrusted.base_url()).await;
    let message = refused(&response, 502, "upstream_unreachable");
    assert!(message.contains("TLS"), "{message}");
    assert_eq!(untrusted.request_count(), 0);
    assert_discreet_and_logged(scene, &[response]).await;
}

#[actix_rt::test]
async fn a_provider_that_speaks_no_tls_is_unreachable() {
    // It waits for the end of a request's head, which a handshake hasn't.
    let scene = Scene::start_with(&[("UPSTREAM_CONNECT_TIMEOUT", "200ms")]).await;
    let plain = scene.provider.base_url().replace("http:", "https:");
    let response = ask_at(&scene, "m1", &plain).await;
    refused(&response, 502, "upstream_unreachable");
    assert_eq!(scene.provider.request_count(), 0);
    assert_discreet_and_logged(scene, &[response]).await;
}

#[actix_rt::test]
async fn a_connection_that_ends_unanswered_is_unreachable_and_not_tried_again() {
    let scene = Scene::start().await;
    let mut responses = Vec::new();
    for ending in [Ending::Close, Ending::Cut, Ending::Reset, Ending::Abandon] {
        scene.provider.next(Answer::silent().end(ending));
        let response = scene.ask(BODY).await;
        refused(&response, 502, "upstream_unreachable");
        responses.push(response);
        assert_eq!(
            scene.provider.request_count(),
            responses.len(),
            "{ending:?}"
        );
    }
    assert_discreet_and_logged(scene, &responses).await;
}

#[actix_rt::test]
async fn no_response_in_time_is_a_timeout() {
    let scene = Scene::start_with(&[("UPSTREAM_RESPONSE_TIMEOUT", "100ms")]).await;
    let mut responses = Vec::new();
    for answer in [
        Answer::silent().hang(),
        Answer::raw("HTTP/1.1 200 OK\r\nx-a:").hang(),
        Answer::raw("HTTP/1.1 100 Continue\r\n\r\n").hang(),
    ] {
        scene.provider.next(answer);
        let response = scene.ask(BODY).await;
        let message = refused(&response, 504, "upstream_timeout");
        assert!(message.contains("0.1 s"), "{message}");
        scene.provider.client_left(responses.len()).await;
        responses.push(response);
    }
    assert_discreet_and_logged(scene, &responses).await;
}

#[actix_rt::test]
async fn a_slow_body_is_no_slow_response() {
    let scene = Scene::start_with(&[("UPSTREAM_RESPONSE_TIMEOUT", "100ms")]).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.asking().await;
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    // Another request runs into the limit meanwhile.
    scene.provider.next(Answer::silent().hang());
    refused(&scene.ask(BODY).await, 504, "upstream_timeout");
    feed.chunk("late");
    feed.end_chunks();
    let response = client.read_rest(head).await;
    assert_eq!(response.text(), "late");
    assert!(response.is_complete());
}

#[actix_rt::test]
async fn what_is_no_response_is_not_relayed() {
    let scene = Scene::start().await;
    let switching = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let two_lengths = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab";
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: b\r\n".repeat(200));
    let large_header = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "b".repeat(10_000_000));
    let mut responses = Vec::new();
    for answer in [
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        two_lengths,
        switching,
        &many_headers,
        &large_header,
    ] {
        scene.provider.next(Answer::raw(answer.to_owned()).hang());
        let response = scene.ask(BODY).await;
        refused(&response, 502, "upstream_invalid_response");
        assert!(!response.text().contains("garbage"));
        responses.push(response);
    }
    // Nothing of it disturbs who comes next.
    scene.provider.next(Answer::json(200, r#"{"is":"mine"}"#));
    assert_eq!(scene.ask(BODY).await.json()["is"], "mine");
    assert_discreet_and_logged(scene, &responses).await;
}

#[actix_rt::test]
async fn without_storage_nobody_is_judged() {
    let database = RefusingAddress::new();
    let database = format!("postgres://user:hunter2@{}/gone", database.address());
    let gateway = TestGateway::start_with(&[
        ("DATABASE_URL", &database),
        ("DATABASE_TIMEOUT", "200ms"),
        ("REDIS_URL", "none"),
    ])
    .await;
    let of_right_form = "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e";
    let request = Request::post(PATH).bearer(of_right_form).json(BODY);
    let response = request.send_to(gateway.address()).await;
    refused(&response, 503, "unavailable");
    assert_eq!(response.header("retry-after").as_deref(), Some("1"));
    assert!(!response.text().contains("hunter2"));

    let request = Request::post(PATH).bearer("of another form").json(BODY);
    let response = request.send_to(gateway.address()).await;
    refused(&response, 401, "invalid_api_key");
}
