//! Browsers and `/v1`.

use super::{BODY, PATH, Scene};
use crate::support::{
    client::{Request, Response},
    gateway::ADMIN_KEY,
    script::Answer,
};

const PAGE: &str = "https://app.example.com";

fn preflight(target: &str, origin: &str) -> Request {
    Request::new("OPTIONS", target)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header(
            "Access-Control-Request-Headers",
            "authorization, content-type, x-stainless-os",
        )
}

fn cors_headers(response: &Response) -> Vec<String> {
    let names = response
        .head
        .headers
        .iter()
        .map(|(name, _)| name.to_lowercase());
    names
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

#[actix_rt::test]
async fn by_default_browsers_are_told_nothing() {
    let scene = Scene::start().await;
    scene
        .provider
        .otherwise(|_| Answer::with_headers(200, &[("access-control-allow-origin", "*")], "{}"));
    let response = scene.send(&preflight(PATH, PAGE)).await;
    assert_eq!(response.status(), 405);
    assert_eq!(cors_headers(&response), [""; 0]);
    let response = scene
        .send(&scene.request(BODY).header("Origin", PAGE))
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(cors_headers(&response), [""; 0]);
}

#[actix_rt::test]
async fn pages_that_are_allowed_may_ask_and_read_answers_and_errors() {
    let origins = "http://localhost:3000, https://App.example.com/";
    let scene = Scene::start_with(&[("CORS_ORIGINS", origins)]).await;
    scene.provider.otherwise(|_| {
        Answer::with_headers(
            200,
            &[("access-control-allow-origin", "https://evil.example")],
            "{}",
        )
    });
    for target in [
        PATH,
        "/v1/models",
        "/v1/models/a/b",
        "/v1/audio/transcriptions",
        "/v1/messages",
    ] {
        let response = scene.send(&preflight(target, PAGE)).await;
        assert_eq!(response.status(), 200, "{target}");
        let header = |name: &str| response.header(name).unwrap_or_default();
        assert_eq!(header("access-control-allow-origin"), PAGE);
        for method in ["GET", "POST"] {
            assert!(header("access-control-allow-methods").contains(method));
        }
        for name in ["authorization", "content-type", "x-stainless-os"] {
            assert!(header("access-control-allow-headers").contains(name));
        }
        assert_eq!(response.header("access-control-allow-credentials"), None);
    }
    assert_eq!(scene.provider.connection_count(), 0);

    for (request, status) in [
        (scene.request(BODY), 200),
        (scene.request("{"), 400),
        (Request::post(PATH).json(BODY), 401),
        (scene.post("/v1/nothing").json(BODY), 404),
        (Request::get(PATH).bearer(&scene.key), 405),
    ] {
        let response = scene.send(&request.header("Origin", PAGE)).await;
        assert_eq!(response.status(), status);
        let allowed = response.head.all("access-control-allow-origin");
        assert_eq!(allowed, [PAGE], "{status}");
        let exposed = response.header("access-control-expose-headers");
        assert_eq!(exposed.as_deref(), Some("*"), "{status}");
        assert!(response.header("x-gateway-request-id").is_some());
    }
}

#[actix_rt::test]
async fn other_pages_are_told_nothing_and_may_not_ask() {
    let scene = Scene::start_with(&[("CORS_ORIGINS", PAGE)]).await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    for origin in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "null",
    ] {
        let response = scene.send(&preflight(PATH, origin)).await;
        assert_eq!(
            response.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
    // Programs that aren't browsers send what they like.
    let response = scene
        .send(&scene.request(BODY).header("Origin", "https://evil.example"))
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("access-control-allow-origin"), None);
    assert_eq!(scene.ask(BODY).await.status(), 200);
}

#[actix_rt::test]
async fn every_page_may_ask_where_all_are_allowed() {
    let scene = Scene::start_with(&[("CORS_ORIGINS", "*")]).await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let response = scene.send(&preflight(PATH, "https://any.example")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.header("access-control-allow-origin").as_deref(),
        Some("*")
    );
    let response = scene
        .send(&scene.request(BODY).header("Origin", "null"))
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.header("access-control-allow-origin").as_deref(),
        Some("*")
    );
}

#[actix_rt::test]
async fn no_page_is_ever_let_into_the_admin_api() {
    let scene = Scene::start_with(&[("CORS_ORIGINS", "*")]).await;
    for request in [
        preflight("/admin/keys", PAGE),
        preflight("/admin/keys", PAGE).bearer(ADMIN_KEY),
        Request::get("/admin/keys")
            .bearer(ADMIN_KEY)
            .header("Origin", PAGE),
        Request::get("/healthz").header("Origin", PAGE),
    ] {
        let response = scene.send(&request).await;
        assert_eq!(cors_headers(&response), [""; 0]);
    }
}
