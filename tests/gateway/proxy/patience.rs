//! How long clients may take: for a head, for a body, for reading, between two requests.

use std::time::Duration;

use super::{BODY, PATH, Scene, refused};
use crate::support::{
    client::{RawClient, Request},
    script::Answer,
    soon,
    wire::End,
};

#[actix_rt::test]
async fn every_head_that_does_not_come_to_its_end_is_given_up() {
    let scene = Scene::start_with(&[("CLIENT_HEAD_TIMEOUT", "200ms")]).await;
    let alive = Request::get("/healthz");
    let mut idle = scene.connect().await;
    assert_eq!(idle.exchange(&alive).await.status(), 200);
    for heads_before in 0..4 {
        let mut client = scene.connect().await;
        for _ in 0..heads_before {
            assert_eq!(client.exchange(&alive).await.status(), 200);
        }
        client
            .send("POST /v1/chat/completions HTTP/1.1\r\nx-a: b")
            .await
            .unwrap();
        let response = client.read_response().await;
        assert_eq!(response.status(), 408, "after {heads_before}");
        assert_eq!(client.server_left().await, End::Closed);
    }
    // Between two requests there is more time than within a head.
    assert_eq!(idle.exchange(&alive).await.status(), 200);
}

#[actix_rt::test]
async fn a_head_that_trickles_is_given_up() {
    let scene = Scene::start_with(&[("CLIENT_HEAD_TIMEOUT", "200ms")]).await;
    let mut client = scene.connect().await;
    assert_eq!(
        client.exchange(&Request::get("/healthz")).await.status(),
        200
    );
    client.send("GET /healthz HTTP/1.1\r\nx-a: ").await.unwrap();
    let given_up = async {
        while client.send("b").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("the head to be given up", given_up).await;
}

#[actix_rt::test]
async fn an_answer_that_takes_longer_than_a_head_may_is_no_slow_head() {
    let scene = Scene::start_with(&[("CLIENT_HEAD_TIMEOUT", "100ms")]).await;
    let mut client = scene.connect().await;
    for _ in 0..2 {
        let (answer, feed) = Answer::live();
        scene.provider.next(answer);
        client.send(scene.request(BODY).to_bytes()).await.unwrap();
        feed.stream_head();
        let head = client.read_head().await.unwrap();
        // Another connection runs into the limit meanwhile, twice.
        for _ in 0..2 {
            let mut slow = scene.connect().await;
            slow.send("GET /").await.unwrap();
            assert_eq!(slow.read_response().await.status(), 408);
        }
        feed.end_chunks();
        assert!(client.read_rest(head).await.is_complete());
    }
}

#[actix_rt::test]
async fn a_body_of_which_nothing_comes_is_given_up() {
    let limits = [
        ("CLIENT_BODY_TIMEOUT", "200ms"),
        // Its timer may not be what wakes a body.
        ("CLIENT_HEAD_TIMEOUT", "10m"),
    ];
    let scene = Scene::start_with(&limits).await;
    let head = scene.post(PATH).header("Content-Length", "10");
    for requests_before in 0..3 {
        let mut client = scene.connect().await;
        for _ in 0..requests_before {
            scene.provider.next(Answer::json(200, "{}"));
            assert_eq!(client.exchange(&scene.request(BODY)).await.status(), 200);
        }
        client.send(head.head_bytes()).await.unwrap();
        let response = client.read_response().await;
        refused(&response, 408, "request_timeout");
    }
    // Right behind a request that is still being answered.
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.connect().await;
    let both = [scene.request(BODY).to_bytes(), head.head_bytes()].concat();
    client.send(both).await.unwrap();
    feed.stream_head();
    feed.end_chunks();
    assert_eq!(client.read_response().await.status(), 200);
    refused(&client.read_response().await, 408, "request_timeout");
}

#[actix_rt::test]
async fn a_body_that_trickles_is_given_up() {
    let scene = Scene::start_with(&[("CLIENT_BODY_TIMEOUT", "200ms")]).await;
    let head = scene.post(PATH).header("Content-Length", "1000000");
    let mut client = scene.connect().await;
    client.send(head.head_bytes()).await.unwrap();
    // Never silent for long, but a few hundred bytes a second.
    let given_up = async {
        loop {
            tokio::select! {
                biased;
                response = client.read_response() => break response,
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            client.send(" ").await.unwrap();
        }
    };
    let response = soon("the body to be given up", given_up).await;
    let message = refused(&response, 408, "request_timeout");
    assert!(message.contains("too slowly"), "{message}");
    client.server_left().await;
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn a_client_that_stops_reading_is_given_up_and_its_provider_let_go() {
    let scene = Scene::start_with(&[("CLIENT_WRITE_TIMEOUT", "200ms")]).await;
    let flood = || Answer::stream().flood("x".repeat(1 << 16), usize::MAX);
    scene.provider.next(flood());
    let mut stuck = scene.asking().await;
    assert_eq!(stuck.read_head().await.unwrap().status(), 200);
    scene.provider.client_left(0).await;
    scene
        .gateway
        .logged("a client has read nothing for 200ms")
        .await;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 50 << 20);
    scene
        .provider
        .next(Answer::raw(answer).send(vec![b'x'; 50 << 20]));
    let stuck = scene.asking().await;
    scene.provider.client_left(1).await;
    drop(stuck);
}

#[actix_rt::test]
async fn a_client_that_waits_for_a_silent_provider_has_not_stopped_reading() {
    let scene = Scene::start_with(&[("CLIENT_WRITE_TIMEOUT", "100ms")]).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut patient = scene.asking().await;
    feed.stream_head();
    let head = patient.read_head().await.unwrap();
    feed.chunk("begun");
    patient.next_data().await;
    // Somebody else is given up meanwhile.
    scene
        .provider
        .next(Answer::stream().flood("x".repeat(1 << 16), usize::MAX));
    let stuck = scene.asking().await;
    scene.provider.client_left(1).await;
    drop(stuck);
    feed.chunk("done");
    feed.end_chunks();
    assert_eq!(patient.read_rest(head).await.text(), "done");
}

#[actix_rt::test]
async fn an_idle_connection_is_closed_in_order() {
    let scene = Scene::start_with(&[("CLIENT_IDLE_TIMEOUT", "200ms")]).await;
    scene.provider.next(Answer::json(200, "{}"));
    let mut client: RawClient = scene.connect().await;
    assert_eq!(client.exchange(&scene.request(BODY)).await.status(), 200);
    assert_eq!(client.server_left().await, End::Closed);
}
