//! `GET /metrics`: who may see it, and in what form.

use crate::support::{
    client::{Request, Response},
    gateway::{ADMIN_KEY, TestGateway},
};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn media_type(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{}", response.text());
    response.header("content-type").unwrap()
}

#[actix_rt::test]
async fn operators_see_metrics_and_nobody_else_does() {
    for settings in [&[][..], &[("ADMIN_LISTEN_ADDR", "127.0.0.1:0")]] {
        let gateway = TestGateway::start_with(settings).await;
        let address = gateway.admin_address().unwrap_or(gateway.address());
        let request = Request::get("/metrics");
        for stranger in [request.clone(), request.clone().bearer("wrong")] {
            let refusal = stranger.send_to(address).await;
            assert_eq!(refusal.status(), 401);
            assert_eq!(refusal.error_code(), "invalid_api_key");
        }
        let operators = request.clone().bearer(ADMIN_KEY);
        assert_eq!(media_type(&operators.send_to(address).await), PROMETHEUS);
        if address != gateway.address() {
            let elsewhere = operators.send_to(gateway.address()).await;
            assert_eq!(elsewhere.error_code(), "unknown_url");
        }
        let put = Request::new("PUT", "/metrics").bearer(ADMIN_KEY);
        assert_eq!(put.send_to(address).await.status(), 405);
    }
}

#[actix_rt::test]
async fn metrics_at_an_address_of_their_own_need_no_key_and_are_nowhere_else() {
    let settings = [
        ("METRICS_ADDR", "127.0.0.1:0"),
        ("ADMIN_LISTEN_ADDR", "127.0.0.1:0"),
    ];
    let mut gateway = TestGateway::start_with(&settings).await;
    let metrics = gateway.metrics_address().unwrap();
    let request = Request::get("/metrics");
    assert_eq!(media_type(&request.send_to(metrics).await), PROMETHEUS);
    assert_eq!(
        Request::get("/healthz").send_to(metrics).await.status(),
        200
    );
    for path in ["/admin/keys", "/v1/models"] {
        let request = Request::get(path).bearer(ADMIN_KEY);
        assert_eq!(request.send_to(metrics).await.error_code(), "unknown_url");
    }
    for elsewhere in [gateway.address(), gateway.admin_address().unwrap()] {
        let answer = request.clone().bearer(ADMIN_KEY).send_to(elsewhere).await;
        assert_eq!(answer.error_code(), "unknown_url");
    }
    gateway.ask_to_stop().await;
    assert!(gateway.ended().await, "{}", gateway.log());
}

#[actix_rt::test]
async fn a_scraper_that_knows_openmetrics_gets_it() {
    let gateway = TestGateway::start_with(&[("METRICS_ADDR", "127.0.0.1:0")]).await;
    let accepting = |types: &str| Request::get("/metrics").header("Accept", types);
    let address = gateway.metrics_address().unwrap();
    // What Prometheus sends.
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    let open = accepting(prometheus).send_to(address).await;
    assert_eq!(media_type(&open), OPEN_METRICS);
    assert!(open.text().ends_with("# EOF\n"), "{}", open.text());
    let plain = accepting("text/html, */*").send_to(address).await;
    assert_eq!(media_type(&plain), PROMETHEUS);
    assert!(!plain.text().contains("# EOF"), "{}", plain.text());
}
