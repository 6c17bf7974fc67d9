//! What is counted of requests.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use super::lines::{Format, access_lines, line_of_outcome};
use crate::{
    proxy::{BODY, PATH, Scene},
    support::{
        client::{RawClient, Request},
        dead_ends::RefusingAddress,
        gateway::{ADMIN_KEY, TestGateway},
        scrape::Scrape,
        script::{Answer, Ending},
        soon,
    },
};

const REQUESTS: &str = "llm_gateway_requests_total";

/// Every series that a scrape has brought.
fn series(scrape: &Scrape) -> BTreeSet<String> {
    let samples = scrape.samples.iter();
    samples
        .map(|sample| format!("{}{:?}", sample.name, sample.labels))
        .collect()
}

/// A scrape in which so many requests of this outcome are counted: a request is over, and counted,
/// a moment after its client has its answer.
async fn scrape_with(gateway: &TestGateway, outcome: &str, count: f64) -> Scrape {
    let counted = async {
        loop {
            let scrape = gateway.metrics().await;
            let labels = [("endpoint", PATH), ("outcome", outcome)];
            if scrape.sum(REQUESTS, &labels) >= count {
                return scrape;
            }
        }
    };
    soon(&format!("{count} requests to end as {outcome}"), counted).await
}

#[actix_rt::test]
async fn a_request_counts_once_in_everything_that_it_has_to_do_with() {
    let scene = Scene::start().await;
    scene.map("quo\"ted\\", "theirs").await;
    scene
        .provider
        .otherwise(|_| Answer::json(200, "the answer"));
    let body = json!({"model": "quo\"ted\\"}).to_string();
    let mut client = scene.connect().await;
    for _ in 0..3 {
        client.exchange(&scene.request(&body)).await;
    }
    let scrape = scrape_with(&scene.gateway, "complete", 3.0).await;
    let target = [
        ("endpoint", PATH),
        ("model", "quo\"ted\\"),
        ("provider", "provider of m"),
    ];
    let ended = [&target[..], &[("status", "200"), ("outcome", "complete")]].concat();
    assert_eq!(scrape.sum(REQUESTS, &ended), 3.0);
    let sent = body.len() as f64 * 3.0;
    for (name, expected) in [
        ("llm_gateway_request_body_bytes_total", sent),
        ("llm_gateway_response_body_bytes_total", 30.0),
        ("llm_gateway_first_byte_seconds_count", 3.0),
        ("llm_gateway_request_duration_seconds_count", 3.0),
    ] {
        assert_eq!(scrape.sum(name, &target), expected, "{name}");
    }
    let at = |name, labels: &[_]| scrape.sum(name, labels);
    assert_eq!(
        at("llm_gateway_overhead_seconds_count", &[("endpoint", PATH)]),
        3.0
    );
    let overhead = at("llm_gateway_overhead_seconds_sum", &[("endpoint", PATH)]);
    let whole = at("llm_gateway_request_duration_seconds_sum", &target);
    assert!(0.0 < overhead && overhead <= whole, "{overhead} of {whole}");
    let by = |connection| [("provider", "provider of m"), ("connection", connection)];
    assert_eq!(at("llm_gateway_upstream_requests_total", &by("new")), 1.0);
    assert_eq!(
        at("llm_gateway_upstream_requests_total", &by("reused")),
        2.0
    );
    assert_eq!(at("llm_gateway_upstream_retries_total", &[]), 0.0);

    // A kept-alive connection that dies unanswered.
    scene.provider.next(Answer::silent().end(Ending::Close));
    client.exchange(&scene.request(&body)).await;
    let scrape = scrape_with(&scene.gateway, "complete", 4.0).await;
    assert_eq!(scrape.sum("llm_gateway_upstream_retries_total", &[]), 1.0);
}

#[actix_rt::test]
async fn a_browser_s_question_counts_where_it_asks_to_go() {
    let scene = Scene::start_with(&[("CORS_ORIGINS", "*")]).await;
    let question = Request::new("OPTIONS", PATH)
        .header("Origin", "https://app.example.com")
        .header("Access-Control-Request-Method", "POST");
    let response = scene.send(&question).await;
    assert_eq!(response.status(), 200);
    scrape_with(&scene.gateway, "complete", 1.0).await;
    assert_eq!(scene.provider.connection_count(), 0);
}

#[actix_rt::test]
async fn what_is_under_way_is_counted_until_it_ends() {
    let scene = Scene::start().await;
    let in_flight = |scrape: &Scrape| {
        let of = |name: &str| scrape.sum(&format!("llm_gateway_{name}_in_flight"), &[]);
        (of("requests"), of("streams"))
    };
    let mut under_way = Vec::new();
    for (number, body) in [r#"{"model":"m","stream":true}"#, BODY]
        .into_iter()
        .enumerate()
    {
        let (answer, feed) = Answer::live();
        scene.provider.next(answer);
        let mut client = scene.connect().await;
        client.send(scene.request(body).to_bytes()).await.unwrap();
        scene.provider.request(number).await;
        under_way.push((client, feed));
    }
    assert_eq!(in_flight(&scene.gateway.metrics().await), (2.0, 1.0));
    for (client, feed) in &mut under_way {
        feed.stream_head();
        let head = client.read_head().await.unwrap();
        feed.end_chunks();
        assert!(client.read_rest(head).await.is_complete());
    }
    scrape_with(&scene.gateway, "complete", 2.0).await;
    // A scrape reads what is under way before it reads what is over.
    assert_eq!(in_flight(&scene.gateway.metrics().await), (0.0, 0.0));
    drop(under_way);

    scene.provider.next(Answer::silent().hang());
    let mut client = scene.connect().await;
    let streamed = scene.request(r#"{"model":"m","stream":true}"#);
    client.send(streamed.to_bytes()).await.unwrap();
    scene.provider.request(2).await;
    client.leave();
    scrape_with(&scene.gateway, "client_gone", 1.0).await;
    assert_eq!(in_flight(&scene.gateway.metrics().await), (0.0, 0.0));
}

#[actix_rt::test]
async fn every_request_is_recorded_exactly_once_however_it_ends() {
    let settings = [
        ("UPSTREAM_RESPONSE_TIMEOUT", "200ms"),
        ("UPSTREAM_IDLE_TIMEOUT", "200ms"),
    ];
    let scene = Scene::start_with(&settings).await;
    let nowhere = RefusingAddress::new();
    scene.gateway.serve_from("gone", &nowhere.base_url()).await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    scene.ask(BODY).await;
    scene.ask(r#"{"model":"gone"}"#).await;
    scene.ask(r#"{"model":"nope"}"#).await;
    scene.provider.next(Answer::silent().hang());
    scene.ask(BODY).await;
    scene.provider.next(Answer::stream().chunk("begun").hang());
    scene.ask(BODY).await;
    scene
        .provider
        .next(Answer::stream().chunk("begun").end(Ending::Cut));
    scene.ask(BODY).await;
    scene
        .provider
        .next(Answer::stream().flood("x".repeat(1 << 16), usize::MAX));
    let mut client = scene.asking().await;
    client.read_head().await.unwrap();
    client.next_data().await;
    client.leave();
    line_of_outcome(&scene.gateway, Format::Text, "client_gone").await;
    for (outcome, count) in [
        ("complete", 1.0),
        ("upstream_error", 1.0),
        ("refused", 1.0),
        ("timeout", 2.0),
        ("upstream_cut", 1.0),
        ("client_gone", 1.0),
    ] {
        let scrape = scrape_with(&scene.gateway, outcome, count).await;
        let labels = [("endpoint", PATH), ("outcome", outcome)];
        assert_eq!(scrape.sum(REQUESTS, &labels), count, "{outcome}");
    }
    let scrape = scene.gateway.metrics().await;
    assert_eq!(scrape.sum(REQUESTS, &[("endpoint", PATH)]), 7.0);
    let lines = access_lines(&scene.gateway, Format::Text);
    let lines = lines.iter().filter(|line| line.get("endpoint") == PATH);
    assert_eq!(lines.count(), 7);
    let none = [("endpoint", PATH), ("status", "none")];
    assert_eq!(scrape.sum(REQUESTS, &none), 0.0);
}

#[actix_rt::test]
async fn no_client_makes_a_label() {
    const EACH: usize = 1_000;
    const CLIENTS: usize = 20;
    let scene = Scene::start().await;
    let invented = |number: usize| {
        [
            scene.request(format!(r#"{{"model":"invented-{number}"}}"#)),
            Request::post(&format!("/v1/invented/{number}")).bearer(&scene.key),
            Request::get(&format!("/invented-{number}?x={number}")),
            Request::get(&format!("/v1/models/invented-{number}")).bearer(&scene.key),
            Request::new(&format!("INVENTED{number}"), PATH),
            Request::get(&format!("/admin/keys/invented-{number}")).bearer(ADMIN_KEY),
        ]
    };
    // Every kind of request once, on each worker.
    for _ in 0..8 {
        for request in invented(EACH) {
            scene.send(&request).await;
        }
    }
    // A scrape is a request too, counted a moment after its answer.
    let scrape_counted = async {
        loop {
            let before = scene.gateway.metrics().await;
            if before.sum(REQUESTS, &[("endpoint", "/metrics")]) >= 1.0 {
                return before;
            }
        }
    };
    let before = soon("a scrape to be counted", scrape_counted).await;
    let clients = (0..CLIENTS).map(|client| {
        let (scene, invented) = (&scene, &invented);
        async move {
            let mut connection: RawClient = scene.connect().await;
            for number in (client..EACH).step_by(CLIENTS) {
                for request in invented(number) {
                    let status = connection.exchange(&request).await.status();
                    assert!(matches!(status, 404 | 405), "{status} to {request:?}");
                }
            }
        }
    });
    join_all(clients).await;
    let all_counted = async {
        loop {
            let after = scene.gateway.metrics().await;
            if after.sum(REQUESTS, &[]) - before.sum(REQUESTS, &[]) >= 6.0 * EACH as f64 {
                return after;
            }
        }
    };
    let after = soon("all requests to be counted", all_counted).await;
    let (after_series, before_series) = (series(&after), series(&before));
    let made: Vec<_> = after_series.difference(&before_series).collect();
    assert!(made.is_empty(), "{made:?}");
}
