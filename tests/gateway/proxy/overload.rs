//! More than the gateway can serve is refused at once; what it serves goes on.

use super::{BODY, PATH, Scene, refused};
use crate::support::{
    client::{RawClient, Request, Response},
    gateway::ADMIN_KEY,
    script::{Answer, Ending, Feed, STREAM_HEAD, framed},
    soon,
};

/// Callers who wait for the heads of their answers, which `Feed`s control.
async fn waiting(scene: &Scene, callers: usize) -> Vec<(RawClient, Feed)> {
    let mut all = Vec::new();
    for _ in 0..callers {
        let (answer, feed) = Answer::live();
        scene.provider.next(answer);
        let number = scene.provider.request_count();
        let client = scene.asking().await;
        scene.provider.request(number).await;
        all.push((client, feed));
    }
    all
}

fn assert_says_when_to_come_back(response: &Response) {
    assert_eq!(response.header("retry-after").as_deref(), Some("1"));
    assert!(response.header("x-gateway-request-id").is_some());
}

#[actix_rt::test]
async fn a_request_too_many_is_refused_at_once() {
    let scene = Scene::start_with(&[("MAX_CONCURRENT_REQUESTS", "4")]).await;
    let mut running = waiting(&scene, 4).await;
    // More than one connection a worker: the limit is one for all of them.
    for _ in 0..8 {
        let response = scene.ask(BODY).await;
        refused(&response, 503, "overloaded");
        assert_says_when_to_come_back(&response);
    }
    // Not even the key is looked at.
    let stranger = Request::post(PATH).bearer("sk-stranger").json(BODY);
    refused(&scene.send(&stranger).await, 503, "overloaded");
    for path in ["/healthz", "/readyz", "/admin/keys"] {
        let request = Request::get(path).bearer(ADMIN_KEY);
        assert_eq!(scene.send(&request).await.status(), 200, "{path}");
    }
    // A place is taken to the end of an answer, not to its beginning.
    let (mut client, feed) = running.pop().unwrap();
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    refused(&scene.ask(BODY).await, 503, "overloaded");
    feed.end_chunks();
    drop(feed);
    assert!(client.read_rest(head).await.is_complete());
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
    drop(running);
    let log = scene.stop().await;
    assert_eq!(log.matches("MAX_CONCURRENT_REQUESTS").count(), 1, "{log}");
}

#[actix_rt::test]
async fn a_place_is_given_back_however_a_request_ends() {
    let scene = Scene::start_with(&[
        ("MAX_CONCURRENT_REQUESTS", "1"),
        ("UPSTREAM_RESPONSE_TIMEOUT", "200ms"),
        ("UPSTREAM_IDLE_TIMEOUT", "200ms"),
    ])
    .await;
    // One connection: the next request begins when the one before it has ended.
    let mut client = scene.connect().await;
    for (body, answer, status) in [
        (r#"{"model":"m"}"#, Some(Answer::json(200, "{}")), 200),
        (BODY, Some(Answer::json(500, "{}")), 500),
        (BODY, Some(Answer::raw("garbage")), 502),
        (BODY, Some(Answer::silent().hang()), 504),
        ("not JSON", None, 400),
        (r#"{"model":"nobody's"}"#, None, 404),
        (BODY, Some(Answer::stream().chunk("x").end_chunks()), 200),
    ] {
        answer
            .into_iter()
            .for_each(|answer| scene.provider.next(answer));
        let response = client.exchange(&scene.request(body)).await;
        assert_eq!(response.status(), status, "{}", response.text());
    }
    for answer in [
        Answer::stream().chunk("x").end(Ending::Reset),
        Answer::stream().chunk("x").hang(),
    ] {
        scene.provider.next(answer);
        assert!(!scene.ask(BODY).await.is_complete());
    }
    for leave in [RawClient::leave, RawClient::reset] {
        let number = scene.provider.request_count();
        scene.provider.next(Answer::stream().chunk("x").hang());
        let client = scene.asking().await;
        scene.provider.request(number).await;
        leave(client);
        // Nobody tells when the gateway has noticed.
        scene.provider.next(Answer::json(200, "{}"));
        let admitted = async { while scene.ask(BODY).await.status() == 503 {} };
        soon("the place to be given back", admitted).await;
    }
}

#[actix_rt::test]
async fn a_refused_upload_is_not_read_to_its_end() {
    let scene = Scene::start_with(&[("MAX_CONCURRENT_REQUESTS", "1")]).await;
    let _running = waiting(&scene, 1).await;
    let mut client = scene.connect().await;
    let head = scene.post(PATH).header("Transfer-Encoding", "chunked");
    client.send(head.head_bytes()).await.unwrap();
    refused(&client.read_response().await, 503, "overloaded");
    let chunk = framed(vec![b' '; 16 * 1024]);
    let closed = async { while client.send(&chunk).await.is_ok() {} };
    soon("the connection to be closed", closed).await;
}

#[actix_rt::test]
async fn all_bodies_together_are_bounded() {
    let scene =
        Scene::start_with(&[("MAX_BODY_BYTES", "1MiB"), ("MAX_BUFFERED_BYTES", "1MiB")]).await;
    let large = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(600 << 10));
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut first = scene.connect().await;
    first.send(scene.request(&large).to_bytes()).await.unwrap();
    scene.provider.request(0).await;
    // Its body is held until it is known that it needn't be sent again.
    let chunked = scene.post(PATH).chunked(&[large.as_bytes()]);
    for request in [&scene.request(&large), &chunked] {
        let response = scene.send(request).await;
        refused(&response, 503, "body_memory_full");
        assert_says_when_to_come_back(&response);
    }
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
    feed.stream_head();
    let head = first.read_head().await.unwrap();
    for request in [&scene.request(&large), &chunked] {
        scene.provider.next(Answer::json(200, "{}"));
        assert_eq!(scene.send(request).await.status(), 200);
    }
    feed.end_chunks();
    assert!(first.read_rest(head).await.is_complete());
    let log = scene.stop().await;
    assert!(log.contains("MAX_BUFFERED_BYTES"), "{log}");
}

#[actix_rt::test]
async fn a_body_that_is_still_on_its_way_counts_while_its_answer_is_read() {
    let limits = [("MAX_BODY_BYTES", "24MiB"), ("MAX_BUFFERED_BYTES", "24MiB")];
    let scene = Scene::start_with(&limits).await;
    // More than the buffers of both ends of a loopback connection hold.
    let large = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(20 << 20));
    let early = Answer::before_body().send(STREAM_HEAD);
    let (answer, feed) = early.send(framed("e".repeat(1 << 20))).follow();
    scene.provider.next(answer);
    let mut first = scene.connect().await;
    first.send(scene.request(&large).to_bytes()).await.unwrap();
    let head = first.read_head().await.unwrap();
    refused(&scene.ask(&large).await, 503, "body_memory_full");
    feed.end_chunks();
    assert!(first.read_rest(head).await.is_complete());
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(&large).await.status(), 200);
}

#[actix_rt::test]
async fn memory_for_a_body_is_given_back_however_its_request_ends() {
    let scene = Scene::start_with(&[
        ("MAX_BODY_BYTES", "64KiB"),
        ("MAX_BUFFERED_BYTES", "64KiB"),
        ("CLIENT_BODY_TIMEOUT", "200ms"),
    ])
    .await;
    let begun = format!(r#"{{"model":"m","x":"{}"#, "x".repeat(50 << 10));
    let head = scene.post(PATH).header("Content-Length", "65536");
    let bytes = [head.head_bytes(), begun.clone().into_bytes()].concat();
    for leave in [RawClient::leave, RawClient::reset] {
        let mut client = scene.connect().await;
        client.send(&bytes).await.unwrap();
        leave(client);
    }
    let mut client = scene.connect().await;
    client.send(&bytes).await.unwrap();
    refused(&client.read_response().await, 408, "request_timeout");
    for body in [
        format!("{begun}\"}} x"),
        begun.replace("\"m\"", "\"nobody's\"") + "\"}",
    ] {
        assert!((400..=404).contains(&scene.ask(body).await.status()));
    }
    scene.provider.next(Answer::silent().end(Ending::Close));
    assert_eq!(scene.ask(format!("{begun}\"}}")).await.status(), 502);
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(format!("{begun}\"}}")).await.status(), 200);
}
