//! `SSE_KEEPALIVE`: a streamed answer that shows that it is alive before its provider says anything.

use serde_json::{Value, json};

use super::{BODY, PATH, Scene, refused};
use crate::support::{
    client::{RawClient, Request, Response},
    dead_ends::RefusingAddress,
    script::{Answer, Ending},
};

const STREAMED: &str = r#"{"model":"m","stream":true}"#;
const COMMENT: &[u8] = b": keep-alive\n\n";
const ON: (&str, &str) = ("SSE_KEEPALIVE", "20ms");

/// A connection on which the caller has asked for a stream.
async fn asking(scene: &Scene) -> RawClient {
    let mut client = scene.connect().await;
    let request = scene.request(STREAMED);
    client.send(request.to_bytes()).await.unwrap();
    client
}

/// What a stream says besides comments.
fn said(response: &Response) -> String {
    assert_eq!(response.status(), 200);
    let pieces = response.pieces.iter();
    let said: Vec<_> = pieces.filter(|piece| *piece != COMMENT).cloned().collect();
    String::from_utf8(said.concat()).unwrap()
}

/// The error that a stream consists of, apart from comments.
fn error_in(response: &Response) -> Value {
    assert!(response.is_complete());
    let event = said(response);
    let data = event.strip_prefix("event: error\n").unwrap();
    let lines = data.strip_suffix("\n\n").unwrap().lines();
    let json: Vec<_> = lines
        .map(|line| line.strip_prefix("data: ").unwrap())
        .collect();
    serde_json::from_str(&json.join("\n")).unwrap()
}

#[actix_rt::test]
async fn comments_come_until_the_provider_speaks_and_none_after() {
    let scene = Scene::start_with(&[ON]).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = asking(&scene).await;
    let head = client.read_head().await.unwrap();
    assert_eq!(head.status(), 200);
    let content_type = head.header("content-type");
    assert_eq!(content_type.as_deref(), Some("text/event-stream"));
    assert!(head.header("x-gateway-request-id").is_some());
    assert_eq!(client.next_data().await, COMMENT);
    assert_eq!(client.next_data().await, COMMENT);
    feed.stream_head();
    // A head alone is nothing to a client.
    for _ in 0..3 {
        assert_eq!(client.next_data().await, COMMENT);
    }
    feed.chunk("da");
    let mut data = client.next_data().await;
    while data == COMMENT {
        data = client.next_data().await;
    }
    assert_eq!(data, b"da");
    // Another stream has the time for comments meanwhile.
    scene.provider.next(Answer::silent().hang());
    let mut other = asking(&scene).await;
    other.read_head().await.unwrap();
    for _ in 0..5 {
        assert_eq!(other.next_data().await, COMMENT);
    }
    feed.chunk("ta: 1\n\n");
    feed.end_chunks();
    assert_eq!(client.read_rest(head).await.text(), "ta: 1\n\n");
}

#[actix_rt::test]
async fn without_it_the_bytes_are_the_provider_s_alone() {
    for (settings, body) in [(&[][..], STREAMED), (&[ON][..], BODY)] {
        let scene = Scene::start_with(settings).await;
        let refusal = r#"{"error":{"message":"slow down"}}"#;
        scene.provider.next(Answer::json(429, refusal));
        let response = scene.ask(body).await;
        assert_eq!(
            (response.status(), response.text().as_str()),
            (429, refusal)
        );
        scene
            .provider
            .next(Answer::stream().chunk("x").end_chunks());
        assert_eq!(scene.ask(body).await.text(), "x");
    }
}

#[actix_rt::test]
async fn what_the_gateway_knows_before_it_sends_is_a_plain_error() {
    let scene = Scene::start_with(&[ON]).await;
    let unmapped = scene.ask(r#"{"model":"nobody's","stream":true}"#).await;
    refused(&unmapped, 404, "model_not_found");
    refused(&scene.ask(r#"{"stream":true}"#).await, 400, "missing_model");
    let stranger = Request::post(PATH).bearer("sk-x").json(STREAMED);
    refused(&scene.send(&stranger).await, 401, "invalid_api_key");
}

#[actix_rt::test]
async fn a_provider_s_refusal_is_an_event_in_its_own_words() {
    let scene = Scene::start_with(&[ON, ("MAX_CONCURRENT_REQUESTS", "1")]).await;
    let refusal = "{\r\n  \"error\": {\n    \"message\": \"slow down\",\n    \"code\": \"rate_limit\"\n  }\n}\n";
    scene.provider.next(Answer::json(429, refusal));
    let response = scene.ask(STREAMED).await;
    let expected: Value = serde_json::from_str(refusal).unwrap();
    assert_eq!(error_in(&response), expected);
    for words in ["<html>", "{\"detail\":1}", "", &"x".repeat(1 << 20)] {
        scene.provider.next(Answer::with_headers(503, &[], words));
        let mut client = scene.connect().await;
        let error = error_in(&client.exchange(&scene.request(STREAMED)).await);
        assert_eq!(error["error"]["code"], "upstream_error");
        assert_eq!(error["error"]["type"], "api_error");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("503"), "{message}");
    }
}

#[actix_rt::test]
async fn a_provider_that_gives_no_stream_is_an_event() {
    let scene = Scene::start_with(&[
        ON,
        ("UPSTREAM_RESPONSE_TIMEOUT", "100ms"),
        ("MAX_CONCURRENT_REQUESTS", "1"),
    ])
    .await;
    let gzip = [
        ("content-type", "text/event-stream"),
        ("content-encoding", "gzip"),
    ];
    for (answer, code) in [
        (Answer::silent().hang(), "upstream_timeout"),
        (Answer::silent().end(Ending::Reset), "upstream_unreachable"),
        (Answer::raw("garbage\r\n\r\n"), "upstream_invalid_response"),
        (Answer::json(200, "{}"), "upstream_invalid_response"),
        (
            Answer::with_headers(200, &gzip, "x"),
            "upstream_invalid_response",
        ),
        (Answer::with_headers(302, &[], ""), "upstream_error"),
    ] {
        scene.provider.next(answer);
        let error = error_in(&scene.ask(STREAMED).await);
        assert_eq!(error["error"]["code"], code, "{error}");
        assert!(error["error"].get("param").is_some());
    }
    let refusing = RefusingAddress::new();
    scene.gateway.serve_from("r", &refusing.base_url()).await;
    let response = scene.ask(r#"{"model":"r","stream":true}"#).await;
    assert_eq!(error_in(&response)["error"]["code"], "upstream_unreachable");
}

#[actix_rt::test]
async fn anthropic_s_clients_get_the_event_in_anthropic_s_words() {
    let scene = Scene::start_with(&[ON]).await;
    scene.provider.next(Answer::silent().end(Ending::Reset));
    let request = scene.post("/v1/messages").json(STREAMED);
    let error = error_in(&scene.send(&request).await);
    assert_eq!(error["type"], json!("error"));
    assert_eq!(error["error"]["type"], "api_error");
}

#[actix_rt::test]
async fn a_stream_that_breaks_off_after_its_first_byte_stays_a_broken_transfer() {
    let scene = Scene::start_with(&[ON]).await;
    for ending in [Ending::Close, Ending::Reset] {
        scene.provider.next(Answer::stream().end(ending));
        assert!(!scene.ask(STREAMED).await.is_complete());
        let (answer, feed) = Answer::live();
        scene.provider.next(answer);
        let mut client = asking(&scene).await;
        let head = client.read_head().await.unwrap();
        feed.stream_head();
        feed.chunk("data: 1\n\n");
        while client.next_data().await == COMMENT {}
        feed.end(ending);
        assert!(!client.read_rest(head).await.is_complete());
    }
}

#[actix_rt::test]
async fn a_client_that_leaves_among_the_comments_cancels_its_request() {
    let scene = Scene::start_with(&[ON]).await;
    for (connection, leave) in [RawClient::leave, RawClient::reset].into_iter().enumerate() {
        scene.provider.next(Answer::silent().hang());
        let mut client = asking(&scene).await;
        client.read_head().await.unwrap();
        assert_eq!(client.next_data().await, COMMENT);
        scene.provider.request(connection).await;
        leave(client);
        scene.provider.client_left(connection).await;
    }
}
