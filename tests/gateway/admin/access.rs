//! Who may call the admin API, and which of its paths exist.

use super::{ADMIN_KEY, NOBODY, answer_to_head, refused};
use crate::support::{
    client::{RawClient, Request, Response},
    gateway::TestGateway,
};

/// Every path, and the methods that it serves.
const TABLE: [(&str, &str); 8] = [
    ("/admin/providers", "GET, HEAD, POST"),
    ("/admin/providers/{id}", "GET, HEAD, PUT, DELETE"),
    ("/admin/models", "GET, HEAD, POST"),
    ("/admin/models/{id}", "GET, HEAD, PUT, DELETE"),
    ("/admin/keys", "GET, HEAD, POST"),
    ("/admin/keys/{id}", "GET, HEAD, PUT, DELETE"),
    ("/admin/keys/{id}/rotate", "POST"),
    ("/admin/audit", "GET, HEAD"),
];

const UNKNOWN_PATHS: [&str; 7] = [
    "/admin",
    "/admin/",
    "/admin/nothing",
    "/admin/providers/",
    "/admin/providers/a/b",
    "/admin/keys/a/revoke",
    "/admin/Keys",
];

fn known_paths() -> impl Iterator<Item = (String, &'static str)> {
    TABLE
        .map(|(path, methods)| (path.replace("{id}", NOBODY), methods))
        .into_iter()
}

async fn list_keys(gateway: &TestGateway, authorization: &[&str]) -> Response {
    let request = authorization
        .iter()
        .fold(Request::get("/admin/keys"), |request, line| {
            request.header("Authorization", line)
        });
    request.send_to(gateway.address()).await
}

#[actix_rt::test]
async fn a_stranger_learns_nothing_on_any_path_or_method() {
    let gateway = TestGateway::start().await;
    let paths = known_paths()
        .map(|(path, _)| path)
        .chain(UNKNOWN_PATHS.map(str::to_owned));
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let response = Request::new(method, &path).send_to(gateway.address()).await;
            let message = refused(&response, 401, "invalid_api_key", None);
            assert!(message.contains("Incorrect API key provided"), "{message}");
            assert_eq!(
                response.header("www-authenticate").as_deref(),
                Some("Bearer")
            );
            assert_eq!(response.header("allow"), None);
        }
    }
}

#[actix_rt::test]
async fn only_the_whole_admin_key_opens() {
    let gateway = TestGateway::start().await;
    let key = ADMIN_KEY;
    let wrong = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        key.to_owned(),
        format!("Basic {key}"),
        format!("Bearer{key}"),
        format!("Bearer {key}x"),
        format!("Bearer {key} x"),
        format!("Bearer {}", &key[..key.len() - 1]),
        format!("Bearer {}", key.to_uppercase()),
        format!("Bearer sk-{NOBODY}"),
        format!("Bearer {}", "x".repeat(4000)),
    ];
    for authorization in wrong {
        let response = list_keys(&gateway, &[&authorization]).await;
        let message = refused(&response, 401, "invalid_api_key", None);
        assert!(!message.contains(key), "{message}");
    }
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let response = list_keys(&gateway, &[&format!("{scheme} {key}")]).await;
        assert_eq!(response.status(), 200, "{scheme}");
    }
}

#[actix_rt::test]
async fn two_authorization_lines_are_none() {
    let gateway = TestGateway::start().await;
    let line = format!("Bearer {ADMIN_KEY}");
    let response = list_keys(&gateway, &[&line, &line]).await;
    refused(&response, 401, "invalid_api_key", None);
}

#[actix_rt::test]
async fn a_strangers_body_is_not_read() {
    let gateway = TestGateway::start().await;
    let request = Request::post("/admin/keys")
        .header("Content-Type", "application/json")
        .header("Content-Length", "100");
    let response = answer_to_head(&gateway, request).await;
    refused(&response, 401, "invalid_api_key", None);
}

#[actix_rt::test]
async fn an_unknown_path_is_named_to_those_with_the_key() {
    let gateway = TestGateway::start().await;
    for path in UNKNOWN_PATHS {
        for method in ["GET", "POST"] {
            let response = gateway.admin().send(Request::new(method, path)).await;
            let message = refused(&response, 404, "unknown_url", None);
            assert!(message.contains(&format!("{method} {path}.")), "{message}");
        }
    }
}

#[actix_rt::test]
async fn a_method_that_a_path_does_not_serve_is_refused_with_those_that_it_does() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    for (path, allowed) in known_paths() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let response = admin.send(Request::new(method, &path)).await;
            if allowed.split(", ").any(|served| served == method) {
                assert_ne!(response.status(), 405, "{method} {path}");
                continue;
            }
            let message = refused(&response, 405, "method_not_allowed", None);
            assert_eq!(response.header("allow").as_deref(), Some(allowed));
            assert!(message.contains(method), "{message}");
        }
    }
}

#[actix_rt::test]
async fn head_is_get_without_the_body() {
    let gateway = TestGateway::start().await;
    let mut client = RawClient::connect(gateway.address()).await;
    for path in ["/admin/keys", "/admin/models", "/admin/providers"] {
        let head = Request::new("HEAD", path).bearer(ADMIN_KEY);
        client.send(head.to_bytes()).await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status(), 200);
        // The next answer on this connection begins where a body would have stood.
        let get = Request::get(path).bearer(ADMIN_KEY);
        assert_eq!(client.exchange(&get).await.text(), "[]");
    }
}

#[actix_rt::test]
async fn what_is_no_id_names_nothing_and_is_not_repeated() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let secret = format!("sk-{NOBODY}");
    for id in [secret.as_str(), "1", "%20", "%ff", "{id}", "..%2f"] {
        for (list, kind) in [
            ("providers", "provider"),
            ("models", "model"),
            ("keys", "key"),
        ] {
            let path = format!("/admin/{list}/{id}");
            for response in [admin.get(&path).await, admin.delete(&path).await] {
                let message = refused(&response, 404, "not_found", None);
                assert!(message.starts_with(&format!("No {kind} has")), "{message}");
                assert!(!message.contains(&secret), "{message}");
            }
        }
        let rotate = Request::post(&format!("/admin/keys/{id}/rotate"));
        refused(&admin.send(rotate).await, 404, "not_found", None);
    }
}

#[actix_rt::test]
async fn an_id_that_nothing_has_is_named() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let rename = || serde_json::json!({"name": "x"});
    let answers = [
        admin.get(&format!("/admin/providers/{NOBODY}")).await,
        admin
            .put(&format!("/admin/providers/{NOBODY}"), rename())
            .await,
        admin.delete(&format!("/admin/providers/{NOBODY}")).await,
        admin.get(&format!("/admin/models/{NOBODY}")).await,
        admin
            .put(&format!("/admin/models/{NOBODY}"), rename())
            .await,
        admin.delete(&format!("/admin/models/{NOBODY}")).await,
        admin.get(&format!("/admin/keys/{NOBODY}")).await,
        admin.put(&format!("/admin/keys/{NOBODY}"), rename()).await,
        admin.delete(&format!("/admin/keys/{NOBODY}")).await,
        admin
            .send(Request::post(&format!("/admin/keys/{NOBODY}/rotate")))
            .await,
    ];
    for response in answers {
        let message = refused(&response, 404, "not_found", None);
        assert!(message.contains(NOBODY), "{message}");
    }
}

#[actix_rt::test]
async fn no_answer_is_to_be_stored() {
    let gateway = TestGateway::start().await;
    let issue = serde_json::json!({"name": "ci"});
    for response in [
        gateway.admin().post("/admin/keys", issue).await,
        gateway.admin().get("/admin/keys").await,
        gateway.admin().get("/admin/nothing").await,
        list_keys(&gateway, &[]).await,
    ] {
        assert_eq!(
            response.header("cache-control").as_deref(),
            Some("no-store")
        );
    }
}

async fn lists_keys_with(gateway: &TestGateway, key: &str) -> u16 {
    let answer = list_keys(gateway, &[&format!("Bearer {key}")]).await;
    answer.status()
}

#[actix_rt::test]
async fn the_previous_admin_key_opens_beside_the_present_one() {
    let previous = "the-previous-admin-key";
    let gateway = TestGateway::start_with(&[("ADMIN_KEY_PREVIOUS", previous)]).await;
    for key in [ADMIN_KEY, previous] {
        assert_eq!(lists_keys_with(&gateway, key).await, 200);
    }
    assert_eq!(lists_keys_with(&gateway, "neither-of-the-two").await, 401);
    let without = TestGateway::start().await;
    assert_eq!(lists_keys_with(&without, previous).await, 401);
}

#[actix_rt::test]
async fn a_short_admin_key_is_warned_of_at_the_start() {
    let gateway = TestGateway::start_with(&[("ADMIN_KEY_PREVIOUS", "hunter2")]).await;
    gateway
        .logged("ADMIN_KEY_PREVIOUS: has fewer than 16")
        .await;
    let log = gateway.log();
    assert!(!log.contains(" ADMIN_KEY: has"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[actix_rt::test]
async fn a_wrong_admin_key_is_logged_with_its_address_and_not_repeated() {
    let gateway = TestGateway::start().await;
    list_keys(&gateway, &[]).await;
    assert_eq!(lists_keys_with(&gateway, "hunter2").await, 401);
    gateway
        .logged("a wrong admin key from 127.0.0.1, failure 1")
        .await;
    assert!(!gateway.log().contains("hunter2"));
}

/// Each of the first three is answered at once, the next hundred wait, and there is no place for
/// more: with delays they can't be all, whatever the machine's speed.
#[actix_rt::test]
async fn wrong_keys_wait_in_a_bounded_number_and_a_right_one_does_not() {
    let gateway = TestGateway::start().await;
    let wrong = Request::get("/admin/keys").bearer("wrong-key-0123456789");
    let mut guessers = Vec::new();
    for _ in 0..140 {
        let mut guesser = RawClient::connect(gateway.address()).await;
        guesser.send(wrong.to_bytes()).await.unwrap();
        guessers.push(guesser);
    }
    assert_eq!(lists_keys_with(&gateway, ADMIN_KEY).await, 200);
    let mut turned_away = 0;
    for mut guesser in guessers {
        let refusal = guesser.read_response().await;
        refused(&refusal, 401, "invalid_api_key", None);
        if refusal.header("connection").as_deref() == Some("close") {
            turned_away += 1;
        }
    }
    assert!((1..=40).contains(&turned_away), "{turned_away}");
    assert_eq!(lists_keys_with(&gateway, ADMIN_KEY).await, 200);
}
