//! Answers come back as the provider gave them: status, body, and the pace of a stream.

use std::fs;

use super::{BODY, PATH, Scene, complaints};
use crate::support::{
    http::sha256,
    provider::ScriptedProvider,
    script::{Answer, Ending, STREAM_HEAD},
    soon,
    wire::End,
};

#[actix_rt::test]
async fn each_chunk_is_relayed_when_it_arrives_and_as_it_is() {
    let scene = Scene::start().await;
    let (answer, feed) = Answer::live();
    scene.provider.next(answer);
    let mut client = scene.asking().await;
    scene.provider.request(0).await;
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(
        head.header("content-type").as_deref(),
        Some("text/event-stream")
    );
    for data in [
        "data: {\"a\":1}\n\n",
        ": comment\n\n",
        "\0\u{1}é😀",
        "data: [DONE]\n\n",
    ] {
        feed.chunk(data);
        assert_eq!(client.next_data().await, data.as_bytes());
    }
    feed.end_chunks();
    assert!(client.read_rest(head).await.is_complete());
}

#[actix_rt::test]
async fn the_head_of_a_stream_does_not_wait_for_its_body() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::stream().hang());
    let mut client = scene.asking().await;
    assert_eq!(client.read_head().await.unwrap().status(), 200);
}

#[actix_rt::test]
async fn a_stream_is_the_same_with_and_without_the_gateway() {
    let scene = Scene::start().await;
    let answer = || {
        let pieces =
            (0..2_000_u32).map(|i| format!("data: {i} {}\n\n", "x".repeat(i as usize % 97)));
        let answer = pieces.fold(Answer::stream(), |answer, piece| answer.chunk(piece));
        answer.flood("y".repeat(10_000), 200).end_chunks()
    };
    scene.provider.next(answer());
    scene.provider.next(answer());
    let direct = scene.request(BODY).send_to(scene.provider.address()).await;
    let relayed = scene.ask(BODY).await;
    assert!(relayed.is_complete());
    assert_eq!(relayed.sha256(), direct.sha256());
}

#[actix_rt::test]
async fn a_whole_answer_keeps_its_length() {
    let scene = Scene::start().await;
    for body in ["", "{}", &"z".repeat(300_000)] {
        scene.provider.next(Answer::json(200, body));
        let response = scene.ask(BODY).await;
        assert_eq!(response.sha256(), sha256(body.as_bytes()));
        let length = body.len().to_string();
        assert_eq!(response.head.all("content-length"), [length]);
        assert_eq!(response.header("transfer-encoding"), None);
    }
}

#[actix_rt::test]
async fn a_provider_s_own_errors_come_back_untouched() {
    let scene = Scene::start().await;
    for status in [
        400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504, 529, 599, 999,
    ] {
        let body = format!(r#"{{"error":{{"message":"Slow down {status}","extra":[1.0]}}}}"#);
        let headers = [("retry-after", "7"), ("x-request-id", "req_1")];
        scene
            .provider
            .next(Answer::with_headers(status, &headers, &body));
        let response = scene.ask(BODY).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.text(), body);
        assert_eq!(response.header("retry-after").as_deref(), Some("7"));
        assert_eq!(response.header("x-request-id").as_deref(), Some("req_1"));
    }
    assert_eq!(complaints(&scene.stop().await), [""; 0]);
}

#[actix_rt::test]
async fn a_redirect_is_relayed_and_never_followed() {
    let scene = Scene::start().await;
    let elsewhere = ScriptedProvider::start().await;
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.base_url();
        let headers = [("location", location.as_str())];
        scene
            .provider
            .next(Answer::with_headers(status, &headers, "moved"));
        let response = scene.ask(BODY).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.header("location"), Some(location.clone()));
        assert_eq!(response.text(), "moved");
    }
    assert_eq!(elsewhere.connection_count(), 0);
}

#[actix_rt::test]
async fn an_answer_without_a_body_has_none() {
    let scene = Scene::start().await;
    let mut client = scene.connect().await;
    for head in [
        "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nx-a: b\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\nx-a: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-a: b\r\n\r\n",
    ] {
        scene.provider.next(Answer::raw(head));
        // One connection: a wrong end of one answer would show in the next.
        let response = client.exchange(&scene.request(BODY)).await;
        assert!(head.contains(&response.status().to_string()), "{head}");
        assert_eq!(response.header("x-a").as_deref(), Some("b"));
        assert!(response.is_complete());
        assert!(response.body().is_empty());
    }
}

#[actix_rt::test]
async fn interim_answers_are_absorbed() {
    let scene = Scene::start().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    scene.provider.next(Answer::raw(interim).send(last));
    let response = scene.ask(BODY).await;
    assert_eq!((response.status(), response.text().as_str()), (200, "ok"));
    assert_eq!(response.header("link"), None);
}

#[actix_rt::test]
async fn an_answer_without_framing_is_read_to_its_end() {
    let scene = Scene::start().await;
    for version in ["1.1", "1.0"] {
        let answer = Answer::raw(format!("HTTP/{version} 200 OK\r\n\r\nall of it"));
        scene.provider.next(answer.end(Ending::Close));
        let response = scene.ask(BODY).await;
        assert_eq!(response.text(), "all of it");
        assert!(response.is_complete());
    }
}

#[actix_rt::test]
async fn trailers_are_left_out() {
    let scene = Scene::start().await;
    let answer = Answer::stream().chunk("data").send("0\r\nx-sum: 1\r\n\r\n");
    scene.provider.next(answer);
    let response = scene.ask(BODY).await;
    assert_eq!(response.pieces, [b"data"]);
    assert!(response.is_complete());
}

#[actix_rt::test]
async fn an_older_client_gets_a_stream_without_chunks() {
    let scene = Scene::start().await;
    scene
        .provider
        .next(Answer::stream().chunk("one").chunk("two").end_chunks());
    let request = String::from_utf8(scene.request(BODY).to_bytes()).unwrap();
    let mut client = scene.connect().await;
    client
        .send(request.replace("HTTP/1.1", "HTTP/1.0"))
        .await
        .unwrap();
    let response = client.read_response().await;
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.text(), "onetwo");
    assert_eq!(client.server_left().await, End::Closed);
}

#[actix_rt::test]
async fn a_large_answer_passes_in_constant_memory_at_the_client_s_pace() {
    const CHUNK: usize = 64 * 1024;
    const TIMES: usize = 1024;
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
    let before = peak_memory_kib(&scene);

    scene.provider.next(
        Answer::stream()
            .flood("x".repeat(CHUNK), TIMES)
            .end_chunks(),
    );
    let mut client = scene.asking().await;
    let head = client.read_head().await.unwrap();
    let mut received = 0;
    while received < CHUNK * TIMES {
        received += client.next_data().await.len();
    }
    assert!(client.read_rest(head).await.is_complete());
    assert_eq!(received, CHUNK * TIMES);
    let grown = peak_memory_kib(&scene) - before;
    assert!(grown < 16 * 1024, "64 MiB cost {grown} KiB");
}

/// The most memory that the gateway has used so far.
fn peak_memory_kib(scene: &Scene) -> u64 {
    let status = format!("/proc/{}/status", scene.gateway.process_id());
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_ascii_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[actix_rt::test]
async fn a_client_that_does_not_read_holds_its_provider_back_and_nobody_else() {
    let scene = Scene::start_with(&[("UPSTREAM_IDLE_TIMEOUT", "2s")]).await;
    let total = 64_u64 << 20;
    let flood = || Answer::stream().flood("x".repeat(1 << 20), 64).end_chunks();
    scene.provider.next(flood());
    let mut sleeper = scene.asking().await;
    let head = sleeper.read_head().await.unwrap();

    // By the time that a silent provider is given up, the sleeper has waited as long; its own
    // provider isn't silent, it is held back.
    scene.provider.next(Answer::stream().chunk("x").hang());
    let mut other = scene.asking().await;
    let other_head = other.read_head().await.unwrap();
    assert!(!other.read_rest(other_head).await.is_complete());
    assert!(scene.provider.bytes_sent() < total);

    let rest = soon("the sleeper's answer", sleeper.read_rest(head)).await;
    assert!(rest.is_complete());
    assert_eq!(rest.body().len() as u64, total);
}

#[actix_rt::test]
async fn a_provider_over_tls_is_the_same() {
    let authority = &*crate::support::tls::TRUSTED;
    let file = std::env::temp_dir().join(format!("{}.pem", uuid::Uuid::new_v4()));
    fs::write(&file, &authority.pem).unwrap();
    let scene = Scene::start_with(&[("SSL_CERT_FILE", file.to_str().unwrap())]).await;
    fs::remove_file(&file).unwrap();
    let provider = ScriptedProvider::start_tls(authority).await;
    scene.gateway.serve("secure", &provider).await;
    provider.next(Answer::raw(STREAM_HEAD).chunk("a").chunk("b").end_chunks());
    let response = scene.ask(r#"{"model":"secure"}"#).await;
    assert_eq!(response.text(), "ab");
    assert!(response.is_complete());
    let received = provider.request(0).await;
    assert_eq!(received.target(), PATH);
    assert_eq!(received.head.all("host"), [provider.address().to_string()]);
}
