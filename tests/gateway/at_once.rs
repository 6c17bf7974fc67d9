//! What an admin call did is in force when it returns: keys, routes, providers.

use serde_json::json;

use crate::support::{
    client::{Request, Response},
    gateway::TestGateway,
    provider::ScriptedProvider,
    script::Answer,
};

async fn ask(gateway: &TestGateway, key: &str, model: &str) -> Response {
    Request::post("/v1/chat/completions")
        .bearer(key)
        .value(&json!({"model": model, "messages": []}))
        .send_to(gateway.address())
        .await
}

/// A provider that always answers, and the gateway that serves `m` from it.
async fn serving() -> (TestGateway, ScriptedProvider) {
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|_| Answer::json(200, "{}"));
    let gateway = TestGateway::start().await;
    gateway.serve("m", &provider).await;
    (gateway, provider)
}

#[actix_web::test]
async fn a_new_key_works_and_a_revoked_one_fails_on_the_very_next_request() {
    let (gateway, _provider) = serving().await;
    for _ in 0..20 {
        let issued = gateway
            .admin()
            .post("/admin/keys", json!({"name": "k"}))
            .await;
        let (id, key) = (issued.text_of("id"), issued.text_of("key"));
        assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
        let revoked = gateway.admin().delete(&format!("/admin/keys/{id}")).await;
        assert_eq!(revoked.status(), 204);
        let refused = ask(&gateway, &key, "m").await;
        assert_eq!(refused.status(), 401);
        assert_eq!(refused.error_code(), "invalid_api_key");
    }
}

#[actix_web::test]
async fn a_rotated_key_fails_and_its_successor_works_on_the_very_next_request() {
    let (gateway, _provider) = serving().await;
    let issued = gateway
        .admin()
        .post("/admin/keys", json!({"name": "k"}))
        .await;
    let (id, mut key) = (issued.text_of("id"), issued.text_of("key"));
    for _ in 0..20 {
        assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
        let path = format!("/admin/keys/{id}/rotate");
        let rotated = gateway.admin().post(&path, json!({})).await;
        assert_eq!(ask(&gateway, &key, "m").await.status(), 401);
        key = rotated.text_of("key");
    }
    assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
}

#[actix_web::test]
async fn a_key_that_was_refused_before_it_existed_works_once_it_does() {
    let (gateway, provider) = serving().await;
    let key = gateway.user_key().await;
    // The model is remembered as unknown, then mapped.
    assert_eq!(ask(&gateway, &key, "later").await.status(), 404);
    assert_eq!(ask(&gateway, &key, "later").await.status(), 404);
    gateway.serve("later", &provider).await;
    assert_eq!(ask(&gateway, &key, "later").await.status(), 200);
}

#[actix_web::test]
async fn a_providers_new_key_and_address_serve_the_very_next_request() {
    let (first, second) = (
        ScriptedProvider::start().await,
        ScriptedProvider::start().await,
    );
    for provider in [&first, &second] {
        provider.otherwise(|_| Answer::json(200, "{}"));
    }
    let gateway = TestGateway::start().await;
    let id = gateway.serve_from("m", &first.base_url()).await;
    let key = gateway.user_key().await;
    assert_eq!(ask(&gateway, &key, "m").await.status(), 200);

    let path = format!("/admin/providers/{id}");
    let change = json!({"api_key": "another-provider-key"});
    assert_eq!(gateway.admin().put(&path, change).await.status(), 200);
    ask(&gateway, &key, "m").await;
    let sent = first.request(1).await;
    assert_eq!(
        sent.header("authorization").unwrap(),
        "Bearer another-provider-key"
    );

    let change = json!({"base_url": second.base_url(), "api_key": "the-second-providers-key"});
    assert_eq!(gateway.admin().put(&path, change).await.status(), 200);
    ask(&gateway, &key, "m").await;
    second.request(0).await;
    assert_eq!(first.request_count(), 2);
}

#[actix_web::test]
async fn a_switched_off_model_or_provider_is_gone_and_comes_back_at_once() {
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|_| Answer::json(200, "{}"));
    let gateway = TestGateway::start().await;
    let provider_id = gateway.serve_from("m", &provider.base_url()).await;
    let key = gateway.user_key().await;
    let models = gateway.admin().get("/admin/models").await.json();
    let model_id = models[0]["id"].as_str().unwrap();
    for path in [
        format!("/admin/providers/{provider_id}"),
        format!("/admin/models/{model_id}"),
    ] {
        assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
        gateway
            .admin()
            .put(&path, json!({"is_active": false}))
            .await;
        let refused = ask(&gateway, &key, "m").await;
        assert_eq!(refused.status(), 404);
        assert_eq!(refused.error_code(), "model_not_found");
        gateway.admin().put(&path, json!({"is_active": true})).await;
    }
    assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
}

#[actix_web::test]
async fn a_renamed_model_answers_to_its_new_name_alone() {
    let (gateway, provider) = serving().await;
    let key = gateway.user_key().await;
    let models = gateway.admin().get("/admin/models").await.json();
    let path = format!("/admin/models/{}", models[0]["id"].as_str().unwrap());
    assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
    let change = json!({"name": "models/ünï:1", "provider_model_name": "there"});
    assert_eq!(gateway.admin().put(&path, change).await.status(), 200);
    assert_eq!(ask(&gateway, &key, "m").await.status(), 404);
    assert_eq!(ask(&gateway, &key, "models/ünï:1").await.status(), 200);
    let sent = provider.request(1).await;
    assert_eq!(sent.text(), r#"{"messages":[],"model":"there"}"#);
}

/// The log says whose a request is.
#[actix_web::test]
async fn a_renamed_key_is_known_by_its_new_name_on_the_very_next_request() {
    let (gateway, _provider) = serving().await;
    let admin = gateway.admin();
    let issued = admin.post("/admin/keys", json!({"name": "k"})).await;
    let (id, key) = (issued.text_of("id"), issued.text_of("key"));
    for name in ["first", "second", "third"] {
        let path = format!("/admin/keys/{id}");
        admin.put(&path, json!({"name": name})).await;
        assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
        let fields = format!("key_id={id} key_name={name} ");
        gateway.logged(&fields).await;
    }
}

#[actix_web::test]
async fn what_was_issued_and_revoked_survives_a_restart() {
    let (gateway, _provider) = serving().await;
    let kept = gateway.user_key().await;
    let issued = gateway
        .admin()
        .post("/admin/keys", json!({"name": "k"}))
        .await;
    let revoked = issued.text_of("key");
    let path = format!("/admin/keys/{}", issued.text_of("id"));
    gateway.admin().delete(&path).await;
    let gateway = gateway.restart().await;
    assert_eq!(ask(&gateway, &kept, "m").await.status(), 200);
    assert_eq!(ask(&gateway, &revoked, "m").await.status(), 401);
}

/// A row changed by hand counts too: the database's triggers write the log.
#[actix_web::test]
async fn a_key_switched_off_by_hand_in_the_database_stops_working() {
    let (gateway, _provider) = serving().await;
    let key = gateway.user_key().await;
    assert_eq!(ask(&gateway, &key, "m").await.status(), 200);
    gateway
        .storage()
        .execute("UPDATE user_keys SET is_active = FALSE")
        .await;
    crate::support::soon("the key to stop working", async {
        while ask(&gateway, &key, "m").await.status() != 401 {}
    })
    .await;
}
