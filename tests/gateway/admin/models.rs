//! Models at the admin API.

use serde_json::{Value, json};

use super::{NOBODY, item, map, provider, refused, register};
use crate::support::gateway::{Admin, TestGateway};

async fn models(admin: &Admin) -> Value {
    admin.get("/admin/models").await.json()
}

#[actix_rt::test]
async fn a_mapped_model_has_every_field() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("main")).await;
    let body = json!({
        "name": " deepseek/深度求索:free ",
        "provider_id": provider_id,
        "provider_model_name": " deepseek-r1 ",
    });
    let created = item(&admin.post("/admin/models", body).await, 201);
    let expected = json!({
        "id": created["id"],
        "name": "deepseek/深度求索:free",
        "provider_id": provider_id,
        "provider_name": "main",
        "provider_model_name": "deepseek-r1",
        "is_active": true,
        "created_at": created["created_at"],
        "updated_at": created["created_at"],
    });
    assert_eq!(created, expected);

    let id = created["id"].as_str().unwrap();
    let shown = admin.get(&format!("/admin/models/{id}")).await;
    assert_eq!(item(&shown, 200), created);
    assert_eq!(models(&admin).await, json!([created]));
}

#[actix_rt::test]
async fn a_provider_model_name_that_was_not_given_is_null() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("main")).await;
    let left_out = json!({"name": "a", "provider_id": provider_id});
    let null = json!({"name": "b", "provider_id": provider_id, "provider_model_name": null});
    for body in [left_out, null] {
        let created = item(&admin.post("/admin/models", body).await, 201);
        assert_eq!(created.get("provider_model_name"), Some(&Value::Null));
    }
}

#[actix_rt::test]
async fn a_model_needs_a_provider_that_exists() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("main")).await;
    let model = json!({"name": "gpt-4o", "provider_id": provider_id});
    let id = map(&admin, model).await;
    let before = models(&admin).await;
    let key = format!("sk-{NOBODY}");
    for provider_id in [NOBODY, "", "main", &key] {
        let body = json!({"name": "other", "provider_id": provider_id});
        let mapped = admin.post("/admin/models", body.clone()).await;
        let changed = admin.put(&format!("/admin/models/{id}"), body).await;
        for response in [mapped, changed] {
            let message = refused(&response, 400, "invalid_value", Some("provider_id"));
            assert!(!message.contains(&key), "{message}");
        }
    }
    assert_eq!(models(&admin).await, before);
}

#[actix_rt::test]
async fn an_unusable_name_at_the_provider_is_refused() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("main")).await;
    for name in ["", " ", "a\nb", &"x".repeat(256)] {
        let body = json!({
            "name": "gpt-4o", "provider_id": provider_id, "provider_model_name": name,
        });
        let response = admin.post("/admin/models", body).await;
        refused(&response, 400, "invalid_value", Some("provider_model_name"));
    }
    assert_eq!(models(&admin).await, json!([]));
}

#[actix_rt::test]
async fn any_subset_of_the_fields_can_be_changed() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let first = register(&admin, provider("first")).await;
    let second = register(&admin, provider("second")).await;
    let body = json!({"name": "gpt-4o", "provider_id": first});
    let path = format!("/admin/models/{}", map(&admin, body).await);
    let mut expected = admin.get(&path).await.json();
    for (change, shown) in [
        (json!({"name": " gpt-5 "}), json!({"name": "gpt-5"})),
        (
            json!({"provider_id": second}),
            json!({"provider_id": second, "provider_name": "second"}),
        ),
        (
            json!({"provider_model_name": "gpt-5-2025"}),
            json!({"provider_model_name": "gpt-5-2025"}),
        ),
        (json!({"is_active": false}), json!({"is_active": false})),
        (
            json!({"provider_model_name": null, "is_active": true}),
            json!({"provider_model_name": null, "is_active": true}),
        ),
        (json!({}), json!({})),
    ] {
        let changed = item(&admin.put(&path, change.clone()).await, 200);
        for (field, value) in shown.as_object().unwrap() {
            expected[field] = value.clone();
        }
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected, "{change}");
        assert_eq!(admin.get(&path).await.json(), expected, "{change}");
    }
    assert!(expected["updated_at"].as_str() > expected["created_at"].as_str());
}

#[actix_rt::test]
async fn a_model_shows_its_providers_present_name() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("before")).await;
    let body = json!({"name": "gpt-4o", "provider_id": provider_id});
    map(&admin, body).await;
    let rename = json!({"name": "after"});
    let renamed = admin
        .put(&format!("/admin/providers/{provider_id}"), rename)
        .await;
    assert_eq!(renamed.status(), 200);
    assert_eq!(models(&admin).await[0]["provider_name"], json!("after"));
}

#[actix_rt::test]
async fn a_model_name_is_taken_once() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("main")).await;
    let body = |name: &str| json!({"name": name, "provider_id": provider_id});
    map(&admin, body("gpt-4o")).await;
    let other = map(&admin, body("other")).await;
    let other = format!("/admin/models/{other}");
    let before = models(&admin).await;

    let mapped = admin.post("/admin/models", body(" gpt-4o ")).await;
    let renamed = json!({"name": "gpt-4o", "is_active": false});
    let renamed = admin.put(&other, renamed).await;
    for response in [mapped, renamed] {
        let message = refused(&response, 409, "conflict", Some("name"));
        assert!(message.contains("model has the name `gpt-4o`"), "{message}");
    }
    assert_eq!(models(&admin).await, before);
    let unchanged = admin.put(&other, json!({"name": "other"})).await;
    assert_eq!(unchanged.status(), 200);
}

#[actix_rt::test]
async fn a_deleted_model_is_gone_and_its_name_free() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("main")).await;
    let body = json!({"name": "gpt-4o", "provider_id": provider_id});
    let id = map(&admin, body.clone()).await;
    let path = format!("/admin/models/{id}");
    let deleted = admin.delete(&path).await;
    assert_eq!((deleted.status(), deleted.text()), (204, String::new()));
    for response in [
        admin.get(&path).await,
        admin.put(&path, json!({"name": "x"})).await,
        admin.delete(&path).await,
    ] {
        refused(&response, 404, "not_found", None);
    }
    assert_eq!(models(&admin).await, json!([]));
    map(&admin, body).await;
}
