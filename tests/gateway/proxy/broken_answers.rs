//! An answer that the provider breaks off ends as a broken transfer, never as a clean end.

use std::{pin::pin, task::Poll};

use futures_util::poll;

use super::{BODY, Scene, complaints};
use crate::support::{
    gateway::PROVIDER_KEY,
    script::{Answer, Ending},
};

const ENDINGS: [Ending; 4] = [Ending::Close, Ending::Cut, Ending::Reset, Ending::Abandon];

#[actix_rt::test]
async fn a_stream_that_is_cut_ends_broken_after_all_that_came() {
    let scene = Scene::start().await;
    for ending in ENDINGS {
        let (answer, feed) = Answer::live();
        scene.provider.next(answer);
        let mut client = scene.asking().await;
        feed.stream_head();
        let head = client.read_head().await.unwrap();
        feed.chunk("data: 1\n\n");
        assert_eq!(client.next_data().await, b"data: 1\n\n");
        feed.end(ending);
        let rest = client.read_rest(head).await;
        assert!(!rest.is_complete(), "{ending:?}");
    }
}

#[actix_rt::test]
async fn an_answer_that_is_cut_in_one_go_still_shows_its_beginning() {
    let scene = Scene::start().await;
    for ending in [Ending::Close, Ending::Cut] {
        scene
            .provider
            .next(Answer::stream().chunk("begun").end(ending));
        let response = scene.ask(BODY).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.text(), "begun");
        assert!(!response.is_complete(), "{ending:?}");
    }
}

#[actix_rt::test]
async fn every_cut_shows_whatever_the_framing() {
    let scene = Scene::start().await;
    let answers: [fn() -> Answer; 7] = [
        || Answer::stream().chunk("data: 1\n\n"),
        || Answer::stream().send("5\r\nabc"),
        || Answer::stream().chunk("abc").send("0\r\n"),
        || Answer::stream().chunk("abc").send("0\r\nx: y\r\n"),
        || Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"),
        || Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"),
        || Answer::raw("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\nabc"),
    ];
    for answer in answers {
        for ending in ENDINGS {
            scene.provider.next(answer().end(ending));
            let mut client = scene.asking().await;
            // A reset may overtake what came before it.
            if let Ok(head) = client.read_head().await
                && head.status() != 502
            {
                assert!(!client.read_rest(head).await.is_complete(), "{ending:?}");
            }
        }
    }
    scene
        .provider
        .next(Answer::raw("HTTP/1.1 200 OK\r\n\r\nabc").end(Ending::Reset));
    let mut client = scene.asking().await;
    if let Ok(head) = client.read_head().await
        && head.status() != 502
    {
        assert!(!client.read_rest(head).await.is_complete());
    }
}

#[actix_rt::test]
async fn a_malformed_chunk_ends_the_answer_broken() {
    let scene = Scene::start().await;
    for garbage in [
        "xyz\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
        "3\r\nabcdef",
        "\r\n\r\n",
    ] {
        scene
            .provider
            .next(Answer::stream().chunk("good").send(garbage).hang());
        let response = scene.ask(BODY).await;
        assert!(!response.is_complete(), "{garbage:?}");
    }
}

#[actix_rt::test]
async fn a_provider_that_falls_silent_is_given_up() {
    let scene = Scene::start_with(&[("UPSTREAM_IDLE_TIMEOUT", "100ms")]).await;
    for answer in [
        Answer::stream().chunk("data: 1\n\n"),
        Answer::stream().chunk("data: 1\n\n").send("5\r\nab"),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ndata: 1\n\n"),
    ] {
        scene.provider.next(answer.hang());
        let response = scene.ask(BODY).await;
        assert!(response.text().starts_with("data: 1\n\n"));
        assert!(!response.is_complete());
    }
    for connection in 0..3 {
        scene.provider.client_left(connection).await;
    }
    let log = scene.stop().await;
    assert_eq!(log.matches("silent for 100ms").count(), 3, "{log}");
}

#[actix_rt::test]
async fn a_stream_that_goes_on_outlives_the_idle_limit() {
    let scene = Scene::start_with(&[("UPSTREAM_IDLE_TIMEOUT", "1s")]).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.asking().await;
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    // A younger stream falls silent: when it is given up, the older one has lasted longer than the
    // limit.
    scene.provider.next(Answer::stream().chunk("x").hang());
    let mut silent = pin!(scene.ask(BODY));
    let given_up = loop {
        if let Poll::Ready(response) = poll!(silent.as_mut()) {
            break response;
        }
        feed.chunk("x");
        assert_eq!(client.next_data().await, b"x");
    };
    assert!(!given_up.is_complete());
    feed.end_chunks();
    assert!(client.read_rest(head).await.is_complete());
}

#[actix_rt::test]
async fn a_broken_answer_is_logged_with_its_provider_and_no_secret() {
    let scene = Scene::start().await;
    scene
        .provider
        .next(Answer::stream().chunk("confidential").end(Ending::Close));
    let response = scene.ask(BODY).await;
    let id = response.header("x-gateway-request-id").unwrap();
    let key = scene.key.clone();
    let log = scene.stop().await;
    let lines = complaints(&log);
    let lines: Vec<_> = lines.iter().filter(|line| line.contains(&id)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("provider of m"), "{log}");
    for secret in ["confidential", &key, PROVIDER_KEY] {
        assert!(!log.contains(secret), "{log}");
    }
}
