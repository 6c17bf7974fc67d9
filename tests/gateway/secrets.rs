//! Providers' keys at rest: what a dump of the storage shows, and what becomes of keys that can't be
//! opened.

use std::{env, process::Output, sync::Arc};

use serde_json::json;
use tokio::process::Command;

use crate::support::{
    client::{Request, Response},
    gateway::{ADMIN_KEY, ENCRYPTION_KEY, TestGateway},
    provider::ScriptedProvider,
    script::Answer,
    soon,
    storage::TestStorage,
};

const KEY: &str = ENCRYPTION_KEY;
const OTHER: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
const SECRET: &str = "sk-the-providers-secret-key-0123456789";

const SEALED: &[(&str, &str)] = &[("ENCRYPTION_KEY", KEY)];
const PLAIN: &[(&str, &str)] = &[("ENCRYPTION_KEY", "")];
const NEW_AND_OLD: &[(&str, &str)] = &[("ENCRYPTION_KEY", OTHER), ("ENCRYPTION_KEY_PREVIOUS", KEY)];

async fn storage() -> Arc<TestStorage> {
    Arc::new(TestStorage::new().await)
}

async fn provider() -> ScriptedProvider {
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|_| Answer::json(200, "{}"));
    provider
}

/// Registers a provider of this name with a key, and maps a model of the same name to it.
async fn serve(
    gateway: &TestGateway,
    name: &str,
    key: &str,
    provider: &ScriptedProvider,
) -> String {
    let admin = gateway.admin();
    let body = json!({
        "name": name, "kind": "openai", "api_key": key, "base_url": provider.base_url(),
        "headers": {"x-app-secret": format!("{key}-in-a-header")},
    });
    let id = admin.post("/admin/providers", body).await.text_of("id");
    let body = json!({"name": name, "provider_id": id});
    assert_eq!(admin.post("/admin/models", body).await.status(), 201);
    id
}

async fn ask(gateway: &TestGateway, key: &str, model: &str) -> Response {
    Request::post("/v1/chat/completions")
        .bearer(key)
        .value(&json!({"model": model}))
        .send_to(gateway.address())
        .await
}

/// Asks, and checks which key reached the provider.
async fn reaches(gateway: &TestGateway, model: &str, provider: &ScriptedProvider, sent: &str) {
    let number = provider.request_count();
    let answer = ask(gateway, &gateway.user_key().await, model).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let request = provider.request(number).await;
    let expected = format!("Bearer {sent}");
    assert_eq!(request.header("authorization"), Some(expected));
    let header = request.header("x-app-secret").unwrap();
    assert!(header.ends_with("-in-a-header"), "{header}");
}

/// Waits until the dump is as it shall be: Redis may still be catching up.
async fn until_dump(storage: &TestStorage, is_right: impl Fn(&str) -> bool) {
    let right = async {
        while !is_right(&storage.dump().await) {
            tokio::task::yield_now().await;
        }
    };
    soon("storage to hold what it shall", right).await;
}

async fn shows_nothing(storage: &TestStorage) {
    until_dump(storage, |dump| !dump.contains(SECRET)).await;
}

async fn rotate(storage: &TestStorage, settings: &[(&str, &str)], options: &[&str]) -> Output {
    run(
        storage,
        settings,
        &[&["rotate-encryption-key"], options].concat(),
    )
    .await
}

async fn run(storage: &TestStorage, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
        .args(arguments)
        .env_clear()
        .env("ADMIN_KEY", ADMIN_KEY)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(storage.environment())
        .envs(settings.iter().copied())
        .current_dir(env::temp_dir())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8(text).unwrap()
}

/// The last line on standard error of a start that was refused.
async fn refusal(storage: &TestStorage, settings: &[(&str, &str)]) -> String {
    let output = soon("the start to be refused", run(storage, settings, &[])).await;
    assert!(!output.status.success());
    let said = said(&output);
    said.lines().last().unwrap_or_default().to_owned()
}

#[actix_rt::test]
async fn no_dump_of_database_or_redis_holds_a_providers_key() {
    let provider = provider().await;
    // First that the dump would show it.
    let gateway = TestGateway::start_with(PLAIN).await;
    gateway.logged("ENCRYPTION_KEY: is not set").await;
    serve(&gateway, "m", SECRET, &provider).await;
    let dump = gateway.storage().dump().await;
    assert!(dump.matches(SECRET).count() >= 1);
    if matches!(*gateway.storage(), TestStorage::Postgres { .. }) {
        assert!(dump.matches(SECRET).count() >= 2, "in Redis too");
    }

    let gateway = TestGateway::start_with(SEALED).await;
    let id = serve(&gateway, "m", "a-first-key-0123456789", &provider).await;
    let change = json!({"api_key": SECRET});
    let path = format!("/admin/providers/{id}");
    let changed = gateway.admin().put(&path, change).await;
    assert_eq!(changed.text_of("api_key_preview"), "sk-t…6789");
    reaches(&gateway, "m", &provider, SECRET).await;
    let dump = gateway.storage().dump().await;
    assert!(!dump.contains(SECRET) && !dump.contains("a-first-key-0123456789"));
    assert!(!gateway.log().contains(SECRET));
    assert!(!gateway.log().contains("ENCRYPTION_KEY: is not set"));

    // And it is not a matter of this process's memory.
    let again = TestGateway::start_on(gateway.storage(), SEALED).await;
    drop(gateway);
    reaches(&again, "m", &provider, SECRET).await;
}

#[actix_rt::test]
async fn a_database_in_plaintext_is_sealed_at_the_start_that_brings_a_key() {
    let provider = provider().await;
    let storage = storage().await;
    let mut gateway = TestGateway::start_on(Arc::clone(&storage), PLAIN).await;
    serve(&gateway, "m", SECRET, &provider).await;
    reaches(&gateway, "m", &provider, SECRET).await;
    // A warm-up that is cut short leaves what it had written aside, which expires by itself.
    until_dump(&storage, |dump| !dump.contains(":staged:")).await;
    gateway.ask_to_stop().await;
    assert!(gateway.ended().await);

    let gateway = TestGateway::start_on(Arc::clone(&storage), SEALED).await;
    gateway.logged("1 providers' keys were sealed").await;
    shows_nothing(&storage).await;
    reaches(&gateway, "m", &provider, SECRET).await;

    // By hand somebody puts one in plaintext beside it: it works, until a start seals it too.
    storage
        .execute("UPDATE providers SET api_key = 'sk-put-by-hand-in-plaintext'")
        .await;
    let by_hand = "sk-put-by-hand-in-plaintext";
    let gateway = gateway.restart().await;
    reaches(&gateway, "m", &provider, by_hand).await;
    until_dump(&storage, |dump| !dump.contains(by_hand)).await;
}

#[actix_rt::test]
async fn a_wrong_encryption_key_refuses_the_start_in_one_line() {
    let provider = provider().await;
    let storage = storage().await;
    let gateway = TestGateway::start_on(Arc::clone(&storage), SEALED).await;
    serve(&gateway, "m", SECRET, &provider).await;
    for settings in [PLAIN, &[("ENCRYPTION_KEY", OTHER)]] {
        let line = refusal(&storage, settings).await;
        assert!(line.starts_with("ENCRYPTION_KEY: "), "{line}");
        assert!(line.contains("sealed with another key"), "{line}");
        assert!(!line.contains(OTHER) && !line.contains(KEY), "{line}");
    }
    reaches(&gateway, "m", &provider, SECRET).await;
}

#[actix_rt::test]
async fn a_rotation_of_the_encryption_key_interrupts_nobody_who_has_both() {
    let provider = provider().await;
    let storage = storage().await;
    let gateway = TestGateway::start_on(Arc::clone(&storage), SEALED).await;
    serve(&gateway, "m", SECRET, &provider).await;
    drop(gateway);

    let gateway = TestGateway::start_on(Arc::clone(&storage), NEW_AND_OLD).await;
    // Until the rotation, the old key seals: who has only that one can read what is written now.
    serve(&gateway, "n", SECRET, &provider).await;
    let old = TestGateway::start_on(Arc::clone(&storage), SEALED).await;
    reaches(&old, "n", &provider, SECRET).await;
    drop(old);

    let rotated = rotate(&storage, NEW_AND_OLD, &[]).await;
    assert!(rotated.status.success(), "{}", said(&rotated));
    assert!(said(&rotated).contains("2 providers' keys were stored anew"));
    assert!(!said(&rotated).contains(SECRET));
    for model in ["m", "n"] {
        reaches(&gateway, model, &provider, SECRET).await;
    }
    serve(&gateway, "o", SECRET, &provider).await;
    let again = rotate(&storage, NEW_AND_OLD, &[]).await;
    assert!(said(&again).contains("0 providers' keys were stored anew, 3"));

    assert!(
        refusal(&storage, SEALED)
            .await
            .starts_with("ENCRYPTION_KEY: ")
    );
    let gateway = TestGateway::start_on(Arc::clone(&storage), &[("ENCRYPTION_KEY", OTHER)]).await;
    for model in ["m", "n", "o"] {
        reaches(&gateway, model, &provider, SECRET).await;
    }
    shows_nothing(&storage).await;
    let audit = gateway.admin().get("/admin/audit").await.json();
    let rotations = audit.as_array().unwrap().iter();
    let rotations = rotations.filter(|entry| entry["action"] == json!("seal"));
    assert_eq!(rotations.count(), 3, "{audit}");
}

#[actix_rt::test]
async fn whoever_misses_a_rotation_sends_nothing_to_providers_and_changes_none() {
    let provider = provider().await;
    let storage = storage().await;
    let gateway = TestGateway::start_on(Arc::clone(&storage), SEALED).await;
    serve(&gateway, "m", SECRET, &provider).await;
    reaches(&gateway, "m", &provider, SECRET).await;
    assert!(rotate(&storage, NEW_AND_OLD, &[]).await.status.success());

    let key = gateway.user_key().await;
    let refused = async {
        loop {
            let answer = ask(&gateway, &key, "m").await;
            if answer.status() == 503 {
                return answer;
            }
        }
    };
    let refused = soon("the rotation to be heard of", refused).await;
    assert_eq!(refused.error_code(), "unavailable");
    assert!(
        refused.text().contains("can't be opened"),
        "{}",
        refused.text()
    );
    gateway
        .logged("its stored key or headers can't be opened")
        .await;
    let seen = provider.request_count();
    assert_eq!(ask(&gateway, &key, "m").await.status(), 503);
    assert_eq!(provider.request_count(), seen);
    for number in 0..seen {
        let sent = provider.request(number).await.header("authorization");
        assert_eq!(sent, Some(format!("Bearer {SECRET}")));
    }
    let body = json!({"name": "x", "kind": "openai", "api_key": "sk-x"});
    let registered = gateway.admin().post("/admin/providers", body).await;
    assert_eq!(registered.status(), 503, "{}", registered.text());
}

#[actix_rt::test]
async fn a_key_that_cannot_be_opened_stops_its_own_model_and_no_other() {
    let provider = provider().await;
    let storage = storage().await;
    let gateway = TestGateway::start_on(Arc::clone(&storage), SEALED).await;
    serve(&gateway, "sound", SECRET, &provider).await;
    let id = serve(&gateway, "swapped", "sk-another-0123456789", &provider).await;
    let key = gateway.user_key().await;
    assert_eq!(ask(&gateway, &key, "swapped").await.status(), 200);
    // A sealed key in another provider's row would go to that provider's address.
    storage
        .execute("UPDATE providers SET api_key = (SELECT api_key FROM providers WHERE name = 'sound') WHERE name = 'swapped'")
        .await;
    let gateway = gateway.restart().await;
    let seen = provider.request_count();
    assert_eq!(ask(&gateway, &key, "swapped").await.status(), 503);
    gateway.logged("provider swapped").await;
    gateway
        .logged("its stored key or headers can't be opened")
        .await;
    assert_eq!(provider.request_count(), seen);
    reaches(&gateway, "sound", &provider, SECRET).await;

    let path = format!("/admin/providers/{id}");
    let shown = gateway.admin().get(&path).await;
    assert_eq!(shown.text_of("api_key_preview"), "unreadable");
    let failed = rotate(&storage, NEW_AND_OLD, &[]).await;
    assert!(!failed.status.success());
    assert!(
        said(&failed).contains("nothing was changed: the key or the headers of provider `swapped`")
    );

    let renamed = gateway.admin().put(&path, json!({"is_active": true})).await;
    assert_eq!(renamed.status(), 200);
    assert_eq!(ask(&gateway, &key, "swapped").await.status(), 503);
    let mended = json!({"api_key": "sk-mended-0123456789"});
    assert_eq!(gateway.admin().put(&path, mended).await.status(), 200);
    reaches(&gateway, "swapped", &provider, "sk-mended-0123456789").await;
}

#[actix_rt::test]
async fn encryption_can_be_given_up_by_asking_for_it_alone() {
    let provider = provider().await;
    let storage = storage().await;
    let gateway = TestGateway::start_on(Arc::clone(&storage), SEALED).await;
    serve(&gateway, "m", SECRET, &provider).await;
    drop(gateway);
    let previous: &[(&str, &str)] = &[("ENCRYPTION_KEY", ""), ("ENCRYPTION_KEY_PREVIOUS", KEY)];
    for (settings, options, problem) in [
        (PLAIN, &[][..], "ENCRYPTION_KEY: "),
        (PLAIN, &["--to-plaintext"][..], "sealed with another key"),
        (
            SEALED,
            &["--to-plaintext"][..],
            "would seal everything again",
        ),
        (previous, &[][..], "ENCRYPTION_KEY: is required"),
    ] {
        let output = rotate(&storage, settings, options).await;
        assert!(!output.status.success());
        assert!(said(&output).contains(problem), "{}", said(&output));
    }
    let gateway = TestGateway::start_on(Arc::clone(&storage), previous).await;
    let output = rotate(&storage, previous, &["--to-plaintext"]).await;
    assert!(output.status.success(), "{}", said(&output));
    reaches(&gateway, "m", &provider, SECRET).await;
    drop(gateway);
    let gateway = TestGateway::start_on(Arc::clone(&storage), PLAIN).await;
    reaches(&gateway, "m", &provider, SECRET).await;
}

#[actix_rt::test]
async fn settings_print_fingerprints_and_no_keys() {
    let storage = storage().await;
    let output = run(&storage, NEW_AND_OLD, &["check-config"]).await;
    let said = said(&output);
    assert!(said.contains("ENCRYPTION_KEY=[secret "), "{said}");
    assert!(!said.contains(KEY) && !said.contains(OTHER), "{said}");
}
