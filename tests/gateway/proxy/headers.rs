//! Which headers pass, in both directions, and the URL that the provider sees.

use std::collections::HashSet;

use uuid::Uuid;

use super::{BODY, PATH, Scene, refused};
use crate::support::{
    client::{Request, Response},
    gateway::PROVIDER_KEY,
    provider::Received,
    script::Answer,
};

const ID: &str = "x-gateway-request-id";

/// What the gateway writes by itself: the provider's host and key, and the body's length.
const ADDED: [&str; 3] = ["authorization", "content-length", "host"];

fn names(received: &Received) -> Vec<String> {
    let headers = received.head.headers.iter();
    let mut names: Vec<_> = headers.map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    names
}

#[actix_rt::test]
async fn a_request_s_headers_go_along() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    let mut head = scene.post(PATH).head_bytes();
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"Content-Length: 13\r\n");
    let kept: [(&str, &[u8]); 11] = [
        ("content-type", b"application/json; charset=utf-8"),
        ("accept", b"text/event-stream"),
        ("user-agent", b"OpenAI/Python 1.2.3"),
        ("x-stainless-retry-count", b"0"),
        ("idempotency-key", b"k-1"),
        ("openai-beta", b"assistants=v2"),
        ("http-referer", b"https://example.com/"),
        ("x-title", b"caf\xe9 \xf0\x9f\x98\x80"),
        ("x-many", b"1"),
        ("x-many", b"2"),
        ("x-request-id", b"mine"),
    ];
    for (name, value) in kept {
        head.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    let mut client = scene.connect().await;
    client
        .send([&head, BODY.as_bytes()].concat())
        .await
        .unwrap();
    assert_eq!(client.read_response().await.status(), 200);

    let received = scene.provider.request(0).await;
    let mut expected: Vec<_> = kept
        .map(|(name, _)| name)
        .into_iter()
        .chain(ADDED)
        .collect();
    expected.sort_unstable();
    assert_eq!(names(&received), expected);
    for (name, value) in kept {
        let has = |(given, got): &(String, Vec<u8>)| given == name && got == value;
        assert!(received.head.headers.iter().any(has), "{name}");
    }
    assert_eq!(received.head.all("x-many"), ["1", "2"]);
}

#[actix_rt::test]
async fn what_a_caller_must_not_say_stays_here() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    let mut request = scene.post(PATH);
    for (name, value) in [
        ("Proxy-Authorization", "Basic eDp5"),
        ("Cookie", "session=1"),
        ("api-key", "k"),
        ("x-api-key", "k"),
        ("X-Goog-Api-Key", "k"),
        ("OpenAI-Organization", "org-other"),
        ("OpenAI-Project", "proj-other"),
        ("Accept-Encoding", "gzip, br"),
        ("Forwarded", "for=192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Host", "example.com"),
        ("X-Forwarded-Whatever", "x"),
        ("X-Real-IP", "192.0.2.1"),
        ("Via", "1.1 proxy"),
        ("Connection", "keep-alive, X-Hop"),
        ("Connection", "x-skip"),
        ("X-Hop", "1"),
        ("X-Skip", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "x-sum"),
        ("Upgrade", "h2c"),
    ] {
        request = request.header(name, value);
    }
    assert_eq!(scene.send(&request.body(BODY)).await.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(names(&received), ADDED);
    let address = scene.provider.address().to_string();
    assert_eq!(received.head.all("host"), [address]);
    let bearer = format!("Bearer {PROVIDER_KEY}");
    assert_eq!(received.head.all("authorization"), [bearer]);
}

#[actix_rt::test]
async fn an_expectation_is_met_by_the_gateway() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    let mut client = scene.connect().await;
    let head = scene.post(PATH).header("Expect", "100-continue");
    let head = head.header("Content-Length", "13").head_bytes();
    client.send(head).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status(), 100);
    client.send(BODY).await.unwrap();
    assert_eq!(client.read_response().await.status(), 200);
    assert_eq!(names(&scene.provider.request(0).await), ADDED);
}

#[actix_rt::test]
async fn a_response_s_headers_come_back() {
    let scene = Scene::start().await;
    let kept = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("server", "provider"),
        ("x-request-id", "req_123"),
        ("openai-processing-ms", "17"),
        ("retry-after", "7"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-many", "1"),
        ("x-many", "2"),
    ];
    let dropped = [
        ("set-cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h3=\":443\""),
        ("clear-site-data", "\"*\""),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "x"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("trailer", "x-sum"),
        ("x-gateway-request-id", "forged"),
    ];
    let headers: Vec<_> = kept.into_iter().chain(dropped).collect();
    scene
        .provider
        .next(Answer::with_headers(200, &headers, "gzipped"));
    let response = scene.ask(BODY).await;
    assert_eq!(response.text(), "gzipped");

    let mut expected: Vec<_> = kept.map(|(name, _)| name).to_vec();
    expected.extend(["content-length", ID]);
    expected.sort_unstable();
    let given = response.head.headers.iter().map(|(name, _)| name.as_str());
    let mut given: Vec<_> = given.collect();
    given.sort_unstable();
    assert_eq!(given, expected);
    for (name, value) in kept {
        assert!(
            response.head.all(name).contains(&value.to_owned()),
            "{name}"
        );
    }
    assert_eq!(response.head.all("x-many"), ["1", "2"]);
    assert_ne!(response.header(ID).unwrap(), "forged");
}

#[actix_rt::test]
async fn every_response_carries_an_id_of_its_own() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    scene.provider.next(Answer::raw("garbage\r\n\r\n"));
    let requests = [
        scene.request(BODY),
        scene.request(BODY),
        scene.request("not JSON"),
        scene.request(r#"{"model":"unknown"}"#),
        scene.post("/v1/unknown"),
        Request::get(PATH),
        Request::post(PATH).json(BODY),
        Request::get("/admin/keys"),
        Request::get("/nowhere"),
    ];
    let mut seen = HashSet::new();
    for request in &requests {
        let response: Response = scene.send(request).await;
        let ids = response.head.all(ID);
        assert_eq!(ids.len(), 1, "{}", response.status());
        let id = Uuid::parse_str(&ids[0]).unwrap();
        assert!(seen.insert(id));
    }
}

#[actix_rt::test]
async fn the_url_is_the_base_the_path_and_the_query_as_they_were_written() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let address = scene.provider.address();
    for (model, base) in [("root", ""), ("slash", "/"), ("deep", "/api/v3%20x/")] {
        let base_url = format!("http://{address}{base}");
        scene.gateway.serve_from(model, &base_url).await;
    }
    let query = "?api-version=2024-10-21&a=%2F%zz+b&empty=&c=d?e";
    for (index, (model, suffix, expected)) in [
        ("m", "", "/v1/chat/completions".to_owned()),
        ("m", "?", "/v1/chat/completions?".to_owned()),
        ("m", query, format!("/v1/chat/completions{query}")),
        ("root", "", "/chat/completions".to_owned()),
        ("slash", "", "/chat/completions".to_owned()),
        (
            "deep",
            query,
            format!("/api/v3%20x/chat/completions{query}"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let request = scene.post(&format!("{PATH}{suffix}"));
        let request = request.json(format!(r#"{{"model":"{model}"}}"#));
        assert_eq!(scene.send(&request).await.status(), 200);
        let received = scene.provider.request(index).await;
        assert_eq!(received.method(), "POST");
        assert_eq!(received.target(), expected);
    }
}

#[actix_rt::test]
async fn an_encoded_path_is_passed_on_as_it_was_written() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let path = "/v1/%63hat/completions";
    let response = scene.send(&scene.post(path).json(BODY)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(scene.provider.request(0).await.target(), path);

    let response = scene
        .send(&scene.post("/%761/chat/completions").json(BODY))
        .await;
    refused(&response, 400, "invalid_url");
}
