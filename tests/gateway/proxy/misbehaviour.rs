//! A provider that misbehaves: each way has its outcome, and none touches the next request.

use std::time::Duration;

use super::{BODY, Scene};
use crate::support::{
    client::Response,
    script::{Answer, Ending, LAST_CHUNK, STREAM_HEAD, framed},
    soon,
};

/// What a caller gets to see.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// The provider's status and body, whole.
    Whole(u16, &'static str),
    /// An answer that breaks off.
    Broken,
    /// An error of the gateway's.
    Refused(u16, &'static str),
    /// A reset may overtake the bytes before it: broken, or refused with this code.
    BrokenOr(&'static str),
}

impl Outcome {
    fn fits(self, response: &Response) -> bool {
        match self {
            Self::Whole(status, body) => {
                response.is_complete() && response.status() == status && response.text() == body
            }
            Self::Broken => !response.is_complete(),
            Self::Refused(status, code) => {
                response.status() == status && response.error_code() == code
            }
            Self::BrokenOr(code) => {
                !response.is_complete() || Self::Refused(502, code).fits(response)
            }
        }
    }
}

fn misbehaviours() -> Vec<(&'static str, Answer, Outcome)> {
    let raw = |bytes: &str| Answer::raw(bytes.to_owned());
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine";
    let stream = format!("{STREAM_HEAD}4\r\nmine\r\n{LAST_CHUNK}");
    let huge = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "b".repeat(1 << 20));
    let unreachable = Outcome::Refused(502, "upstream_unreachable");
    let unusable = Outcome::Refused(502, "upstream_invalid_response");
    let late = Outcome::Refused(504, "upstream_timeout");
    let mine = Outcome::Whole(200, "mine");
    vec![
        ("hangs before its head", Answer::silent().hang(), late),
        (
            "hangs within its head",
            raw("HTTP/1.1 200 OK\r\nx: ").hang(),
            late,
        ),
        (
            "closes unanswered",
            Answer::silent().end(Ending::Close),
            unreachable,
        ),
        (
            "resets unanswered",
            Answer::silent().end(Ending::Reset),
            unreachable,
        ),
        (
            "stops mid-stream",
            Answer::stream().chunk("mi").hang(),
            Outcome::Broken,
        ),
        (
            "cuts mid-stream",
            Answer::stream().chunk("mi").end(Ending::Cut),
            Outcome::Broken,
        ),
        (
            "resets mid-stream",
            Answer::stream().chunk("mi").end(Ending::Reset),
            Outcome::BrokenOr("upstream_unreachable"),
        ),
        (
            "declares more than it sends",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nmine").end(Ending::Close),
            Outcome::Broken,
        ),
        (
            "sends more than it declares",
            raw(&format!("{whole}yours")),
            mine,
        ),
        (
            "sends a second answer at once",
            raw(&format!("{whole}{whole}")),
            mine,
        ),
        (
            "sends garbage after its stream",
            raw(&format!("{stream}garbage")),
            mine,
        ),
        (
            "goes on in a malformed chunk",
            Answer::stream().send("zz\r\n").hang(),
            Outcome::Broken,
        ),
        ("sends a huge header", raw(&huge).hang(), unusable),
        (
            "speaks something else",
            raw("220 smtp ready\r\n").hang(),
            unusable,
        ),
        (
            "contradicts itself",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\nmine")
                .hang(),
            unusable,
        ),
        ("answers and closes", raw(whole).end(Ending::Close), mine),
        (
            "refuses early and resets",
            Answer::before_body()
                .send("HTTP/1.1 413 No\r\ncontent-length: 4\r\n\r\nmine")
                .end(Ending::Close),
            Outcome::Whole(413, "mine"),
        ),
    ]
}

#[actix_rt::test]
async fn each_misbehaviour_has_its_outcome_and_leaves_the_next_request_alone() {
    let scene = Scene::start_with(&[
        ("UPSTREAM_RESPONSE_TIMEOUT", "300ms"),
        ("UPSTREAM_IDLE_TIMEOUT", "300ms"),
        ("WORKERS", "1"),
        // The second attempt on a fresh connection has tests of its own.
        ("UPSTREAM_RETRY_STALE", "false"),
    ])
    .await;
    for (name, answer, outcome) in misbehaviours() {
        scene.provider.next(answer);
        let response = scene.ask(BODY).await;
        assert!(
            outcome.fits(&response),
            "a provider that {name}: {outcome:?}, not {} {:?} {:?}",
            response.status(),
            response.text(),
            response.breach
        );
        // One worker: these have one pool, into which nothing of it may have got.
        for number in 0..2 {
            let words = format!("after one that {name}, {number}");
            scene.provider.next(Answer::json(200, &words));
            let next = scene.ask(BODY).await;
            assert_eq!((next.status(), next.text()), (200, words));
        }
    }
}

#[actix_rt::test]
async fn a_head_that_comes_byte_by_byte_is_no_response_in_time() {
    let scene = Scene::start_with(&[("UPSTREAM_RESPONSE_TIMEOUT", "300ms")]).await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.asking().await;
    feed.send("HTTP/1.1 200 OK\r\nx-slow: ");
    let given_up = async {
        loop {
            feed.send("x");
            tokio::select! {
                biased;
                response = client.read_response() => break response,
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    };
    let response = soon("the head to be given up", given_up).await;
    assert!(Outcome::Refused(504, "upstream_timeout").fits(&response));
}

#[actix_rt::test]
async fn an_early_success_of_any_length_reaches_a_caller_whose_body_is_large() {
    const EARLY: usize = 8 << 20;
    let scene = Scene::start().await;
    let body = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(16 << 20));
    let early = framed("e".repeat(EARLY));
    scene.provider.next(
        Answer::before_body()
            .send(STREAM_HEAD)
            .send(early)
            .read_body()
            .chunk("read")
            .end_chunks(),
    );
    let response = scene.ask(&body).await;
    assert!(response.is_complete());
    assert_eq!(response.body().len(), EARLY + 4);
    assert_eq!(scene.provider.request(0).await.text(), body);
}
