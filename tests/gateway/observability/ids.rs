//! Ids of requests: the gateway's own on every answer, the provider's as it is, the caller's trace
//! passed on.

use std::collections::HashSet;

use crate::{
    proxy::{BODY, PATH, Scene},
    support::{client::Request, dead_ends::RefusingAddress, gateway::ADMIN_KEY, script::Answer},
};

#[actix_rt::test]
async fn every_answer_of_every_kind_has_an_id_of_its_own() {
    let settings = [
        ("CORS_ORIGINS", "https://app.example.com"),
        ("ADMIN_LISTEN_ADDR", "127.0.0.1:0"),
        ("METRICS_ADDR", "127.0.0.1:0"),
        ("MAX_BODY_BYTES", "100"),
    ];
    let scene = Scene::start_with(&settings).await;
    let nowhere = RefusingAddress::new();
    scene.gateway.serve_from("gone", &nowhere.base_url()).await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let preflight = |origin: &str| {
        Request::new("OPTIONS", PATH)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
    };
    let admin = |path: &str| Request::get(path).bearer(ADMIN_KEY);
    let other_origin = scene.request(BODY).header("Origin", "https://evil.example");
    let at = scene.gateway.address();
    let operators = scene.gateway.admin_address().unwrap();
    let metrics = scene.gateway.metrics_address().unwrap();
    let mut ids = HashSet::new();
    for (address, request, status) in [
        (at, scene.request(BODY), 200),
        (at, scene.request(r#"{"model":"gone"}"#), 502),
        (at, scene.request(r#"{"model":"nope"}"#), 404),
        (at, scene.request(format!("{BODY:101}")), 413),
        (at, Request::post(PATH).json(BODY), 401),
        (at, Request::get(PATH), 405),
        (at, Request::get("/v1/models").bearer(&scene.key), 200),
        (at, Request::get("/v1/nothing"), 404),
        (at, Request::get("/nothing"), 404),
        (at, preflight("https://app.example.com"), 200),
        (at, preflight("https://evil.example"), 400),
        (at, other_origin, 200),
        (at, Request::get("/healthz"), 200),
        (at, Request::get("/readyz"), 200),
        (operators, admin("/admin/keys"), 200),
        (operators, admin("/admin/keys/nonsense"), 404),
        (operators, admin("/admin/nothing"), 404),
        (operators, Request::get("/admin/keys"), 401),
        (
            operators,
            Request::post("/admin/keys").bearer(ADMIN_KEY).json("{"),
            400,
        ),
        (metrics, Request::get("/metrics"), 200),
        (metrics, Request::post("/metrics"), 405),
        (metrics, Request::get("/readyz"), 200),
    ] {
        let response = request.send_to(address).await;
        assert_eq!(
            response.status(),
            status,
            "{request:?}: {}",
            response.text()
        );
        let id = response.header("x-gateway-request-id");
        let id = id.unwrap_or_else(|| panic!("{request:?} was answered without an id"));
        assert_eq!(id.len(), 36);
        assert!(ids.insert(id), "{request:?} shares an id");
    }
}

#[actix_rt::test]
async fn the_provider_s_id_comes_back_untouched_and_cannot_be_the_gateway_s() {
    let scene = Scene::start().await;
    let headers = [
        ("x-request-id", "theirs"),
        ("x-gateway-request-id", "forged"),
    ];
    scene
        .provider
        .next(Answer::with_headers(200, &headers, "{}"));
    let request = scene.request(BODY).header("x-request-id", "the caller's");
    let response = scene.send(&request).await;
    assert_eq!(response.header("x-request-id").unwrap(), "theirs");
    assert_eq!(response.header("x-gateway-request-id").unwrap().len(), 36);
    let received = scene.provider.request(0).await;
    assert_eq!(received.header("x-request-id").unwrap(), "the caller's");
}

#[actix_rt::test]
async fn a_trace_goes_on_to_the_provider() {
    let scene = Scene::start().await;
    scene.provider.next(Answer::json(200, "{}"));
    let trace = [
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("baggage", "user=1"),
    ];
    let request = trace
        .iter()
        .fold(scene.request(BODY), |request, (name, value)| {
            request.header(name, value)
        });
    assert_eq!(scene.send(&request).await.status(), 200);
    let received = scene.provider.request(0).await;
    for (name, value) in trace {
        assert_eq!(received.header(name).as_deref(), Some(value));
    }
}
