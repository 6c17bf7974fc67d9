//! User keys at the admin API.

use serde_json::{Value, json};

use super::{field_names, item, refused};
use crate::support::{
    client::Request,
    gateway::{Admin, TestGateway},
};

const FIELDS: [&str; 6] = [
    "created_at",
    "id",
    "is_active",
    "key_prefix",
    "name",
    "updated_at",
];

async fn issue(admin: &Admin, name: &str) -> Value {
    item(&admin.post("/admin/keys", json!({"name": name})).await, 201)
}

async fn rotate(admin: &Admin, id: &str) -> crate::support::client::Response {
    let path = format!("/admin/keys/{id}/rotate");
    admin.send(Request::post(&path)).await
}

fn id(key: &Value) -> &str {
    key["id"].as_str().unwrap()
}

fn plaintext(key: &Value) -> &str {
    let text = key["key"].as_str().unwrap();
    let digits = text.strip_prefix("sk-").unwrap();
    let uuid = uuid::Uuid::try_parse(digits).unwrap();
    assert_eq!((text.len(), uuid.get_version_num()), (39, 4), "{text}");
    assert_eq!(digits, uuid.to_string());
    text
}

/// What later answers show of a key: all but its plaintext.
fn without_plaintext(key: &Value) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().remove("key");
    key
}

#[actix_rt::test]
async fn an_issued_key_is_shown_once_with_every_field() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let issued = issue(&admin, " CI, нightly ").await;
    let plain = plaintext(&issued);
    let expected = json!({
        "id": issued["id"],
        "name": "CI, нightly",
        "key": plain,
        "key_prefix": plain[..11],
        "is_active": true,
        "created_at": issued["created_at"],
        "updated_at": issued["created_at"],
    });
    assert_eq!(issued, expected);

    let shown = item(
        &admin.get(&format!("/admin/keys/{}", id(&issued))).await,
        200,
    );
    assert_eq!(shown, without_plaintext(&issued));
    assert_eq!(field_names(&shown), FIELDS);
    let list = admin.get("/admin/keys").await;
    assert_eq!(list.json(), json!([shown]));
    assert!(!list.text().contains(plain));
}

#[actix_rt::test]
async fn names_of_keys_may_repeat() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let (first, second) = (issue(&admin, "ci").await, issue(&admin, "ci").await);
    assert_ne!(id(&first), id(&second));
    assert_ne!(plaintext(&first), plaintext(&second));
}

#[actix_rt::test]
async fn a_key_can_be_renamed_and_nothing_else_of_it_changes() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let issued = issue(&admin, "ci").await;
    let path = format!("/admin/keys/{}", id(&issued));
    let mut expected = without_plaintext(&issued);
    for (change, name) in [
        (json!({"name": " nightly "}), "nightly"),
        (json!({}), "nightly"),
    ] {
        let changed = item(&admin.put(&path, change).await, 200);
        expected["name"] = json!(name);
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected);
        assert_eq!(admin.get(&path).await.json(), expected);
    }
    let active = admin.put(&path, json!({"is_active": true})).await;
    let message = refused(&active, 400, "invalid_body", None);
    assert!(message.contains("`is_active`"), "{message}");
}

#[actix_rt::test]
async fn a_rotated_key_keeps_its_id_and_shows_a_new_plaintext_once() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let issued = issue(&admin, "ci").await;
    let rotated = item(&rotate(&admin, id(&issued)).await, 200);
    assert_eq!(field_names(&rotated), field_names(&issued));
    for field in ["id", "name", "is_active", "created_at"] {
        assert_eq!(rotated[field], issued[field], "{field}");
    }
    let plain = plaintext(&rotated);
    assert_ne!(plain, plaintext(&issued));
    assert_eq!(rotated["key_prefix"], json!(plain[..11]));
    assert!(rotated["updated_at"].as_str() > issued["updated_at"].as_str());
    let list = admin.get("/admin/keys").await.json();
    assert_eq!(list, json!([without_plaintext(&rotated)]));
}

#[actix_rt::test]
async fn a_rotation_needs_no_body_and_no_media_type() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let issued = issue(&admin, "ci").await;
    let path = format!("/admin/keys/{}/rotate", id(&issued));
    for request in [
        Request::post(&path).body(""),
        Request::post(&path).json("{}"),
        Request::post(&path).body("x=1"),
    ] {
        assert_eq!(admin.send(request).await.status(), 200);
    }
}

#[actix_rt::test]
async fn a_revoked_key_stays_in_the_list_and_is_off() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let issued = issue(&admin, "ci").await;
    let path = format!("/admin/keys/{}", id(&issued));
    let revoked = admin.delete(&path).await;
    assert_eq!((revoked.status(), revoked.text()), (204, String::new()));

    let shown = item(&admin.get(&path).await, 200);
    let mut expected = without_plaintext(&issued);
    expected["is_active"] = json!(false);
    expected["updated_at"] = shown["updated_at"].clone();
    assert_eq!(shown, expected);
    assert_eq!(admin.get("/admin/keys").await.json(), json!([shown]));
}

#[actix_rt::test]
async fn revoking_twice_is_revoking_once() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let issued = issue(&admin, "ci").await;
    let path = format!("/admin/keys/{}", id(&issued));
    assert_eq!(admin.delete(&path).await.status(), 204);
    let once = admin.get(&path).await.json();
    assert_eq!(admin.delete(&path).await.status(), 204);
    assert_eq!(admin.get(&path).await.json(), once);
}

#[actix_rt::test]
async fn a_revoked_key_cannot_be_rotated_back_to_life() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let issued = issue(&admin, "ci").await;
    let path = format!("/admin/keys/{}", id(&issued));
    admin.delete(&path).await;
    let before = admin.get(&path).await.json();
    let message = refused(&rotate(&admin, id(&issued)).await, 409, "conflict", None);
    assert!(message.contains("revoked"), "{message}");
    assert_eq!(admin.get(&path).await.json(), before);
}
