//! Who changed what: an entry for every change, none for what failed, and never a secret.

use serde_json::{Value, json};

use super::{ADMIN_KEY, NOBODY, field_names, map, provider, register};
use crate::support::{
    client::Request,
    gateway::{Admin, TestGateway},
};

/// Without what the start itself did.
async fn entries(admin: &Admin) -> Vec<Value> {
    let list = admin.get("/admin/audit").await;
    assert_eq!(list.status(), 200, "{}", list.text());
    let mut entries = list.json().as_array().unwrap().clone();
    entries.retain(|entry| entry["item_kind"] != json!("encryption"));
    entries
}

/// action, kind, name and fields of each, oldest first.
fn deeds(entries: &[Value]) -> Vec<String> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let told = entries.iter().rev().map(|entry| {
        let fields: Vec<_> = entry["fields"].as_array().unwrap().iter().collect();
        let fields = serde_json::to_string(&fields).unwrap();
        let words = ["action", "item_kind", "item_name"].map(|field| text(entry, field));
        format!("{} {fields}", words.join(" "))
    });
    told.collect()
}

#[actix_rt::test]
async fn every_change_leaves_an_entry_without_any_value() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let provider_id = register(&admin, provider("main")).await;
    let provider_path = format!("/admin/providers/{provider_id}");
    let change = json!({"base_url": "http://localhost:1/v1", "api_key": "sk-another-0123456789", "name": "second"});
    admin.put(&provider_path, change).await;
    let model = map(&admin, json!({"name": "m", "provider_id": provider_id})).await;
    let model = format!("/admin/models/{model}");
    admin
        .put(
            &model,
            json!({"provider_model_name": "there", "is_active": false}),
        )
        .await;
    admin.delete(&model).await;
    admin.delete(&provider_path).await;
    let issued = admin.post("/admin/keys", json!({"name": "ci"})).await;
    let key = format!("/admin/keys/{}", issued.text_of("id"));
    admin.put(&key, json!({"name": "laptop"})).await;
    let rotated = admin.send(Request::post(&format!("{key}/rotate"))).await;
    admin.delete(&key).await;

    let entries = entries(&admin).await;
    assert_eq!(
        deeds(&entries),
        [
            r#"create provider main []"#,
            r#"update provider second ["name","api_key","base_url"]"#,
            r#"create model m []"#,
            r#"update model m ["provider_model_name","is_active"]"#,
            r#"delete model m []"#,
            r#"delete provider second []"#,
            r#"create key ci []"#,
            r#"update key laptop ["name"]"#,
            r#"rotate key laptop []"#,
            r#"revoke key laptop []"#,
        ]
    );
    let first = entries.last().unwrap();
    assert_eq!(
        field_names(first),
        [
            "action",
            "admin_key",
            "created_at",
            "fields",
            "forwarded_for",
            "id",
            "item_id",
            "item_kind",
            "item_name",
            "peer"
        ]
    );
    assert_eq!(first["item_id"], json!(provider_id));
    super::assert_is_id(&first["id"]);
    super::assert_is_utc_time(&first["created_at"]);
    let all = serde_json::to_string(&entries).unwrap();
    for secret in [
        "sk-provider-key-0123456789",
        "sk-another-0123456789",
        "localhost:1",
        ADMIN_KEY,
        &issued.text_of("key"),
        &rotated.text_of("key"),
    ] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[actix_rt::test]
async fn an_entry_says_from_where_and_with_which_key() {
    let previous = "the-previous-admin-key";
    let gateway = TestGateway::start_with(&[("ADMIN_KEY_PREVIOUS", previous)]).await;
    let issue = || Request::post("/admin/keys").value(&json!({"name": "ci"}));
    for (key, forwarded) in [(ADMIN_KEY, None), (previous, Some("203.0.113.7, 10.0.0.1"))] {
        let request = match forwarded {
            Some(value) => issue().header("X-Forwarded-For", value),
            None => issue(),
        };
        let issued = request.bearer(key).send_to(gateway.address()).await;
        assert_eq!(issued.status(), 201);
    }
    let entries = entries(&gateway.admin()).await;
    assert_eq!(entries[0]["forwarded_for"], json!("203.0.113.7, 10.0.0.1"));
    assert_eq!(entries[1]["forwarded_for"], Value::Null);
    for entry in &entries {
        assert_eq!(entry["peer"], json!("127.0.0.1"));
        let fingerprint = entry["admin_key"].as_str().unwrap();
        assert!(fingerprint.len() == 8 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()));
        // So that an operator can tell whose it is.
        gateway.logged(&format!("fingerprint {fingerprint}")).await;
    }
    assert_ne!(entries[0]["admin_key"], entries[1]["admin_key"]);
}

#[actix_rt::test]
async fn what_fails_or_changes_nothing_leaves_no_entry() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let id = register(&admin, provider("main")).await;
    map(&admin, json!({"name": "m", "provider_id": id})).await;
    let path = format!("/admin/providers/{id}");
    let before = entries(&admin).await;
    let elsewhere = json!({"base_url": "http://localhost:1"});
    for answer in [
        admin.post("/admin/providers", provider("main")).await,
        admin.post("/admin/providers", json!({"name": "x"})).await,
        admin.put(&path, elsewhere).await,
        admin.delete(&path).await,
        admin.delete(&format!("/admin/keys/{NOBODY}")).await,
        admin
            .post("/admin/models", json!({"name": "n", "provider_id": NOBODY}))
            .await,
        Request::post("/admin/keys")
            .value(&json!({"name": "ci"}))
            .send_to(gateway.address())
            .await,
    ] {
        assert!((400..500).contains(&answer.status()), "{}", answer.text());
    }
    assert_eq!(admin.put(&path, json!({})).await.status(), 200);
    assert_eq!(admin.get(&path).await.status(), 200);
    assert_eq!(entries(&admin).await, before);
}

#[actix_rt::test]
async fn a_change_that_cannot_be_recorded_does_not_happen() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let storage = gateway.storage();
    storage
        .execute("ALTER TABLE audit RENAME TO elsewhere")
        .await;
    let issued = admin.post("/admin/keys", json!({"name": "ci"})).await;
    assert_eq!(issued.status(), 500, "{}", issued.text());
    storage
        .execute("ALTER TABLE elsewhere RENAME TO audit")
        .await;
    assert_eq!(admin.get("/admin/keys").await.json(), json!([]));
}

#[actix_rt::test]
async fn the_audit_is_read_a_page_at_a_time() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    for name in ["a", "b", "c"] {
        admin.post("/admin/keys", json!({"name": name})).await;
    }
    let all = admin.get("/admin/audit").await.json();
    let all = all.as_array().unwrap();
    let page = admin.get("/admin/audit?limit=2").await;
    assert_eq!(page.json(), json!(all[..2]));
    let after = all[1]["id"].as_str().unwrap();
    let next = format!("/admin/audit?limit=2&after={after}");
    assert_eq!(page.header("link"), Some(format!("<{next}>; rel=\"next\"")));
    assert_eq!(admin.get(&next).await.json(), json!(all[2..]));
}
