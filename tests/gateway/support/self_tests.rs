//! The tools of the tests do what the tests rely on.

use std::time::Duration;

use tokio::net::TcpStream;

use super::client::{RawClient, Request};
use super::dead_ends::{DeafAddress, RefusingAddress};
use super::http::{Piece, sha256};
use super::provider::ScriptedProvider;
use super::script::{Answer, Ending};
use super::tls::{TRUSTED, UNTRUSTED};
use super::wire::End;

const PATH: &str = "/v1/chat/completions";

fn request() -> Request {
    Request::post(PATH).json(r#"{"model": "m"}"#)
}

/// A provider, and a client connected to it, once without and once with TLS.
async fn both_ways() -> Vec<(ScriptedProvider, RawClient)> {
    let plain = ScriptedProvider::start().await;
    let client = RawClient::connect(plain.address()).await;
    let tls = ScriptedProvider::start_tls(&TRUSTED).await;
    let tls_client = RawClient::connect_tls(tls.address(), &TRUSTED).await;
    vec![(plain, client), (tls, tls_client)]
}

#[actix_web::test]
async fn a_request_is_recorded_byte_for_byte() {
    for (provider, mut client) in both_ways().await {
        provider.next(Answer::json(200, r#"{"ok": true}"#));
        let request = request().header("X-Odd-CASE", "a  b").bearer("k");
        let response = client.exchange(&request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.json()["ok"], true);
        assert!(response.is_complete());

        let received = provider.request(0).await;
        assert_eq!(received.head.raw, request.head_bytes());
        assert_eq!(received.method(), "POST");
        assert_eq!(received.target(), PATH);
        assert_eq!(received.header("x-odd-case").as_deref(), Some("a  b"));
        assert_eq!(received.text(), r#"{"model": "m"}"#);
        assert_eq!(received.sha256(), sha256(br#"{"model": "m"}"#));
        assert_eq!(provider.bytes_sent() as usize, response.head.raw.len() + 12);
    }
}

#[actix_web::test]
async fn a_connection_serves_one_request_after_another() {
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|request| Answer::json(200, request.header("x-number").unwrap()));
    let mut client = RawClient::connect(provider.address()).await;
    for number in ["1", "2", "3"] {
        let chunks: [&[u8]; 2] = [b"{}", b" "];
        let request = Request::post(PATH)
            .header("X-Number", number)
            .chunked(&chunks);
        assert_eq!(client.exchange(&request).await.text(), number);
    }
    assert_eq!(provider.request_count(), 3);
    assert_eq!(provider.connection_count(), 1);
    let last = provider.request(2).await;
    assert_eq!((last.connection, &last.body[..]), (0, &b"{} "[..]));
    client.leave();
    assert_eq!(provider.client_left(0).await, End::Closed);
}

#[actix_web::test]
async fn what_nothing_was_scripted_for_is_answered_with_500() {
    let provider = ScriptedProvider::start().await;
    let response = request().send_to(provider.address()).await;
    assert_eq!(response.status(), 500);
}

#[actix_web::test]
async fn a_live_answer_goes_on_when_the_test_says_so() {
    for (provider, mut client) in both_ways().await {
        let (answer, feed) = Answer::live();
        provider.next(answer);
        client.send(request().to_bytes()).await.unwrap();
        provider.request(0).await;
        feed.stream_head();
        let head = client.read_head().await.unwrap();
        for data in ["data: 1\n\n", "data: 2\n\n"] {
            feed.chunk(data);
            assert_eq!(client.next_data().await, data.as_bytes());
        }
        feed.end_chunks();
        assert!(client.read_rest(head).await.is_complete());
    }
}

#[actix_web::test]
async fn chunks_are_seen_as_they_were_sent() {
    for (provider, mut client) in both_ways().await {
        provider.next(Answer::stream().chunk("ab").flood("c", 3).end_chunks());
        let response = client.exchange(&request()).await;
        assert_eq!(response.pieces, [&b"ab"[..], b"c", b"c", b"c"]);
        assert_eq!(response.sha256(), sha256(b"abccc"));
    }
}

/// Plays an answer, then ends the connection, and says whether the client saw a clean end.
async fn ends_clean(mut client: RawClient, provider: &ScriptedProvider, answer: Answer) -> bool {
    provider.next(answer);
    client.exchange(&request()).await.is_complete()
}

#[actix_web::test]
async fn a_broken_transfer_is_told_from_a_clean_end() {
    let cut_answers: [fn() -> Answer; 3] = [
        || Answer::stream().chunk("abc"),
        || Answer::stream().send("5\r\nabc"),
        || Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"),
    ];
    for ending in [Ending::Close, Ending::Cut, Ending::Reset, Ending::Abandon] {
        for answer in cut_answers {
            for (provider, client) in both_ways().await {
                let answer = answer().end(ending);
                assert!(!ends_clean(client, &provider, answer).await, "{ending:?}");
            }
        }
    }
}

#[actix_web::test]
async fn without_framing_the_way_the_connection_ends_decides() {
    for (ending, plain_is_clean, tls_is_clean) in [
        (Ending::Close, true, true),
        (Ending::Cut, true, false),
        (Ending::Abandon, true, false),
        (Ending::Reset, false, false),
    ] {
        let expected = [plain_is_clean, tls_is_clean];
        for ((provider, client), is_clean) in both_ways().await.into_iter().zip(expected) {
            let answer = Answer::raw("HTTP/1.1 200 OK\r\n\r\nabc").end(ending);
            let clean = ends_clean(client, &provider, answer).await;
            assert_eq!(clean, is_clean, "{ending:?} of {}", provider.base_url());
        }
    }
}

#[actix_web::test]
async fn an_early_answer_leaves_the_body_unread() {
    let provider = ScriptedProvider::start().await;
    let early = "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
    provider.next(Answer::before_body().send(early).end(Ending::Close));
    let mut client = RawClient::connect(provider.address()).await;
    let request = request().body(vec![b'x'; 1 << 20]);
    client.send(request.head_bytes()).await.unwrap();
    assert_eq!(client.read_response().await.status(), 413);
    assert!(!provider.head(0).await.is_complete);
    client.leave();
    assert_eq!(provider.client_left(0).await, End::Closed);
}

#[actix_web::test]
async fn interim_answers_and_strange_ones_are_sent_as_written() {
    let provider = ScriptedProvider::start().await;
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let answer = Answer::raw(hints).send("HTTP/1.1 204 No Content\r\nx-a: 1\r\nX-A: 2\r\n\r\n");
    provider.next(answer);
    provider.next(Answer::raw("garbage\r\n\r\n"));
    let mut client = RawClient::connect(provider.address()).await;
    assert_eq!(client.exchange(&request()).await.status(), 103);
    let last = client.read_response().await;
    assert_eq!(last.status(), 204);
    assert_eq!(last.head.all("x-a"), ["1", "2"]);
    client.send(request().to_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().first_line, "garbage");
}

#[actix_web::test]
async fn a_connection_can_end_without_an_answer() {
    let provider = ScriptedProvider::start().await;
    for (ending, seen) in [(Ending::Close, End::Closed), (Ending::Reset, End::Reset)] {
        let (answer, feed) = Answer::live();
        provider.next(answer);
        let mut client = RawClient::connect(provider.address()).await;
        client.send(request().to_bytes()).await.unwrap();
        feed.end(ending);
        assert_eq!(client.read_head().await.unwrap_err(), seen);
    }
}

#[actix_web::test]
async fn a_client_that_leaves_is_noticed_at_every_stage() {
    let provider = ScriptedProvider::start().await;
    let endless = || Answer::stream().flood("x".repeat(4096), usize::MAX);
    let answers: [fn() -> Answer; 3] = [
        || Answer::silent().hang(),
        || Answer::live().0.hang(),
        endless,
    ];
    for (connection, answer) in answers.into_iter().enumerate() {
        provider.next(answer());
        let mut client = RawClient::connect(provider.address()).await;
        client.send(request().to_bytes()).await.unwrap();
        provider.request(connection).await;
        client.reset();
        assert_eq!(provider.client_left(connection).await, End::Reset);
    }
    // In the middle of its upload.
    let mut client = RawClient::connect(provider.address()).await;
    client.send(request().head_bytes()).await.unwrap();
    client.send(r#"{"mod"#).await.unwrap();
    provider.body_bytes(answers.len(), 5).await;
    client.leave();
    assert_eq!(provider.client_left(answers.len()).await, End::Closed);
    assert!(!provider.head(answers.len()).await.is_complete);
}

#[actix_web::test]
async fn a_slow_reader_holds_the_provider_back() {
    let provider = ScriptedProvider::start().await;
    let (chunk, times) = ("x".repeat(64 * 1024), 512);
    provider.next(Answer::stream().flood(&chunk, times).end_chunks());
    let mut client = RawClient::connect(provider.address()).await;
    client.send(request().to_bytes()).await.unwrap();
    provider.sent_at_least(1).await;
    let head = client.read_head().await.unwrap();
    let body_bytes = (chunk.len() * times) as u64;
    assert!(provider.bytes_sent() < body_bytes, "who took all that?");
    let response = client.read_rest(head).await;
    assert_eq!(response.body().len() as u64, body_bytes);
    provider.sent_at_least(body_bytes).await;
}

#[actix_web::test]
async fn a_stopped_provider_is_gone() {
    let provider = ScriptedProvider::start().await;
    provider.next(Answer::silent().hang());
    let address = provider.address();
    let mut client = RawClient::connect(address).await;
    client.send(request().to_bytes()).await.unwrap();
    provider.request(0).await;
    provider.stop().await;
    assert_eq!(client.server_left().await, End::Closed);
    TcpStream::connect(address).await.unwrap_err();
}

#[actix_web::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let provider = ScriptedProvider::start_tls(&UNTRUSTED).await;
    let stream = TcpStream::connect(provider.address()).await.unwrap();
    TRUSTED.connect(stream).await.unwrap_err();
    assert!(TRUSTED.pem.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[actix_web::test]
async fn nothing_answers_at_a_dead_end() {
    let refusing = RefusingAddress::new();
    assert!(refusing.base_url().starts_with("http://127.0.0.1:"));
    TcpStream::connect(refusing.address()).await.unwrap_err();
    let deaf = DeafAddress::new().await;
    assert!(deaf.base_url().ends_with("/v1"));
    let attempt = TcpStream::connect(deaf.address());
    // Nothing happens, and that can only be seen by waiting; were it accepted, it would be at once.
    let waited = tokio::time::timeout(Duration::from_millis(200), attempt).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[actix_web::test]
async fn ordinary_requests_are_one_line() {
    let provider = ScriptedProvider::start().await;
    let echo = [("x-request-id", "r")];
    provider.otherwise(move |request| Answer::with_headers(200, &echo, request.target()));
    let response = Request::get("/v1/models?limit=1")
        .send_to(provider.address())
        .await;
    assert_eq!(response.text(), "/v1/models?limit=1");
    assert_eq!(response.header("X-Request-Id").as_deref(), Some("r"));
    let body = serde_json::json!({"name": "n"});
    let posted = Request::post("/admin/keys").value(&body);
    posted.send_to(provider.address()).await;
    assert_eq!(provider.request(1).await.text(), r#"{"name":"n"}"#);
}

#[actix_web::test]
async fn a_client_can_finish_sending_and_go_on_reading() {
    let provider = ScriptedProvider::start().await;
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    provider.next(Answer::before_body().read_body().send(response));
    let mut client = RawClient::connect(provider.address()).await;
    client.send(request().to_bytes()).await.unwrap();
    client.finish_sending().await;
    assert_eq!(client.read_response().await.text(), "ok");
    assert_eq!(client.next_piece().await, Piece::Complete);
}
