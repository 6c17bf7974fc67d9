//! Connections to providers: kept, tried once more where they died, never mixed up.

use futures_util::future::join_all;

use super::{BODY, PATH, Scene, complaints, refused};
use crate::support::{
    client::RawClient,
    script::{Answer, Ending},
};

/// A caller's connection whose worker has a kept-alive connection to the provider.
async fn warmed_up(scene: &Scene) -> RawClient {
    scene.provider.next(Answer::json(200, "warm"));
    let mut client = scene.connect().await;
    let response = client.exchange(&scene.request(BODY)).await;
    assert_eq!(response.text(), "warm");
    client
}

#[actix_rt::test]
async fn a_connection_serves_request_after_request() {
    let scene = Scene::start().await;
    let mut client = warmed_up(&scene).await;
    scene
        .provider
        .otherwise(|_| Answer::stream().chunk("more").end_chunks());
    for _ in 0..5 {
        let response = client.exchange(&scene.request(BODY)).await;
        assert_eq!(response.text(), "more");
    }
    assert_eq!(scene.provider.request_count(), 6);
    assert_eq!(scene.provider.connection_count(), 1);
}

#[actix_rt::test]
async fn a_kept_connection_that_died_unanswered_is_replaced_once() {
    let scene = Scene::start().await;
    for (round, ending) in [Ending::Close, Ending::Cut, Ending::Reset]
        .into_iter()
        .enumerate()
    {
        let mut client = warmed_up(&scene).await;
        scene.provider.next(Answer::silent().end(ending));
        scene.provider.next(Answer::json(200, "second attempt"));
        let response = client.exchange(&scene.request(BODY)).await;
        assert_eq!(response.text(), "second attempt", "{ending:?}");
        assert_eq!(scene.provider.request_count(), 3 * (round + 1));
        let first = scene.provider.request(3 * round + 1).await;
        let second = scene.provider.request(3 * round + 2).await;
        assert_ne!(first.connection, second.connection);
        assert_eq!(first.text(), second.text());
        assert_eq!(first.target(), second.target());
        assert_eq!(
            second.header("authorization"),
            first.header("authorization")
        );
    }
    assert_eq!(complaints(&scene.stop().await), [""; 0]);
}

#[actix_rt::test]
async fn a_second_attempt_is_the_last() {
    let scene = Scene::start().await;
    let mut client = warmed_up(&scene).await;
    scene
        .provider
        .otherwise(|_| Answer::silent().end(Ending::Close));
    let response = client.exchange(&scene.request(BODY)).await;
    refused(&response, 502, "upstream_unreachable");
    assert_eq!(scene.provider.request_count(), 3);
}

#[actix_rt::test]
async fn nothing_is_sent_twice_where_that_is_switched_off() {
    let scene = Scene::start_with(&[("UPSTREAM_RETRY_STALE", "false")]).await;
    let mut client = warmed_up(&scene).await;
    scene.provider.next(Answer::silent().end(Ending::Close));
    let response = client.exchange(&scene.request(BODY)).await;
    refused(&response, 502, "upstream_unreachable");
    assert_eq!(scene.provider.request_count(), 2);
}

#[actix_rt::test]
async fn after_one_byte_of_an_answer_nothing_is_sent_twice() {
    let scene = Scene::start().await;
    for (round, beginning) in ["H", "HTTP/1.1 100 Continue\r\n\r\n"]
        .into_iter()
        .enumerate()
    {
        let mut client = warmed_up(&scene).await;
        scene
            .provider
            .next(Answer::raw(beginning).end(Ending::Close));
        let response = client.exchange(&scene.request(BODY)).await;
        refused(&response, 502, "upstream_unreachable");
        assert_eq!(scene.provider.request_count(), 2 * (round + 1));
    }
}

#[actix_rt::test]
async fn a_connection_that_the_provider_closed_is_not_used_again() {
    let scene = Scene::start().await;
    for ending in [Ending::Close, Ending::Cut, Ending::Reset] {
        let mut client = scene.connect().await;
        scene.provider.next(Answer::json(200, "last").end(ending));
        assert_eq!(client.exchange(&scene.request(BODY)).await.text(), "last");
        scene.provider.next(Answer::json(200, "new"));
        assert_eq!(client.exchange(&scene.request(BODY)).await.text(), "new");
    }
}

#[actix_rt::test]
async fn an_early_refusal_reaches_a_caller_whose_body_is_large() {
    let scene = Scene::start().await;
    let body = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(16 << 20));
    let early = "HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo much";
    for ending in [Ending::Close, Ending::Cut] {
        scene
            .provider
            .next(Answer::before_body().send(early).end(ending));
        let response = scene.ask(&body).await;
        assert_eq!(response.status(), 413);
        assert_eq!(response.text(), "too much");
    }
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
}

#[actix_rt::test]
async fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let scene = Scene::start().await;
    scene
        .provider
        .otherwise(|request| Answer::json(200, request.header("x-number").unwrap()));
    let mut client = scene.connect().await;
    let numbers = ["1", "2", "3", "4"];
    let requests = numbers.map(|number| {
        let request = scene.post(PATH).header("X-Number", number);
        request.json(BODY).to_bytes()
    });
    client.send(requests.concat()).await.unwrap();
    for number in numbers {
        assert_eq!(client.read_response().await.text(), number);
    }
}

/// An answer of some odd kind that names its caller wherever it has words.
fn odd_answer(kind: usize, caller: &str) -> Answer {
    let length = caller.len();
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{caller}");
    match kind {
        0 => Answer::raw(whole),
        1 => Answer::stream().chunk(caller).end_chunks(),
        2 => Answer::raw(format!(
            "HTTP/1.1 103 Early Hints\r\nx: {caller}\r\n\r\n{whole}"
        )),
        3 => Answer::raw(format!("{whole}{whole}")),
        4 => Answer::raw(format!("{whole}garbage {caller}")),
        5 => Answer::stream().chunk(caller).end(Ending::Close),
        6 => Answer::raw(whole).end(Ending::Close),
        7 => Answer::raw(format!("HTTP/1.1 200 OK\r\n\r\n{caller}")).end(Ending::Close),
        8 => Answer::silent().end(Ending::Reset),
        9 => Answer::raw("HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\nsomething"),
        _ => Answer::before_body().send(whole),
    }
}

#[actix_rt::test]
async fn no_caller_ever_receives_an_answer_to_another() {
    const CALLERS: usize = 64;
    const ROUNDS: usize = 12;
    let scene = Scene::start().await;
    scene.provider.otherwise(|request| {
        let caller = request.header("x-caller").unwrap();
        let kind = request.header("x-kind").unwrap().parse().unwrap();
        odd_answer(kind, &caller)
    });
    let callers = (0..CALLERS).map(|caller| call_again_and_again(&scene, caller, ROUNDS));
    let complete: usize = join_all(callers).await.into_iter().sum();
    assert!(complete > CALLERS, "too few answers to tell: {complete}");
}

/// Answers how many whole answers came.
async fn call_again_and_again(scene: &Scene, caller: usize, rounds: usize) -> usize {
    let mut complete = 0;
    for round in 0..rounds {
        let name = format!("caller-{caller}-{round}");
        let kind = ((caller + round * 7) % 11).to_string();
        let request = scene
            .post(PATH)
            .header("X-Caller", &name)
            .header("X-Kind", &kind);
        let mut client = scene.connect().await;
        client.send(request.json(BODY).to_bytes()).await.unwrap();
        let Ok(head) = client.read_head().await else {
            continue;
        };
        let response = client.read_rest(head).await;
        if response.status() == 200 && response.is_complete() {
            assert_eq!(response.text(), name, "kind {kind}");
            complete += 1;
        } else if response.status() == 200 {
            assert!(name.starts_with(&response.text()), "kind {kind}");
        }
    }
    complete
}
