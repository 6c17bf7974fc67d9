//! Providers at the admin API.

use serde_json::{Value, json};

use super::{NOBODY, field_names, item, map, provider, refused, register};
use crate::support::gateway::{Admin, TestGateway};

async fn providers(admin: &Admin) -> Value {
    admin.get("/admin/providers").await.json()
}

#[actix_rt::test]
async fn a_registered_provider_has_every_field() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let body = json!({
        "name": " OpenAI, main ",
        "kind": "openai",
        "api_key": " sk-proj-0123456789abcdef ",
        "base_url": "http://127.0.0.1:9000/v1/",
    });
    let created = item(&admin.post("/admin/providers", body).await, 201);
    let expected = json!({
        "id": created["id"],
        "name": "OpenAI, main",
        "kind": "openai",
        "base_url": "http://127.0.0.1:9000/v1",
        "api_key_preview": "sk-p…cdef",
        "headers_preview": {},
        "timeouts": {"connect": null, "response": null, "idle": null},
        "is_active": true,
        "created_at": created["created_at"],
        "updated_at": created["created_at"],
    });
    assert_eq!(created, expected);

    let id = created["id"].as_str().unwrap();
    let shown = admin.get(&format!("/admin/providers/{id}")).await;
    assert_eq!(item(&shown, 200), created);
    assert_eq!(providers(&admin).await, json!([created]));
}

const ADDRESSES: [(&str, &str); 19] = [
    ("openai", "https://api.openai.com/v1"),
    ("openrouter", "https://openrouter.ai/api/v1"),
    (
        "dashscope",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
    ),
    ("ark", "https://ark.cn-beijing.volces.com/api/v3"),
    ("anthropic", "https://api.anthropic.com/v1"),
    (
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    ("deepseek", "https://api.deepseek.com"),
    ("groq", "https://api.groq.com/openai/v1"),
    ("mistral", "https://api.mistral.ai/v1"),
    ("together", "https://api.together.xyz/v1"),
    ("fireworks", "https://api.fireworks.ai/inference/v1"),
    ("xai", "https://api.x.ai/v1"),
    ("moonshot", "https://api.moonshot.ai/v1"),
    ("zhipu", "https://open.bigmodel.cn/api/paas/v4"),
    ("siliconflow", "https://api.siliconflow.cn/v1"),
    ("minimax", "https://api.minimax.io/v1"),
    ("ollama", "http://localhost:11434/v1"),
    ("vllm", "http://localhost:8000/v1"),
    ("lmstudio", "http://127.0.0.1:1234/v1"),
];

#[actix_rt::test]
async fn the_kinds_are_listed_with_all_that_they_decide() {
    let gateway = TestGateway::start().await;
    let listed = gateway.admin().get("/admin/provider-kinds").await;
    assert_eq!(listed.status(), 200);
    let listed = listed.json();
    let kinds = listed.as_array().unwrap();
    assert_eq!(kinds.len(), ADDRESSES.len() + 2);
    let kind = |name: &str| kinds.iter().find(|kind| kind["name"] == name).unwrap();
    for (name, base_url) in ADDRESSES {
        assert_eq!(kind(name)["base_url"], base_url);
    }
    let openai = json!({
        "name": "openai",
        "base_url": "https://api.openai.com/v1",
        "api_key_header": "authorization",
        "api_key_prefix": "Bearer ",
        "api_key_required": true,
        "headers": {},
    });
    assert_eq!(kind("openai"), &openai);
    let azure = [&kind("azure")["base_url"], &kind("azure")["api_key_header"]];
    assert_eq!(azure, [&json!(null), &json!("api-key")]);
    let version = json!({"anthropic-version": "2023-06-01"});
    assert_eq!(kind("anthropic")["headers"], version);
    assert_eq!(kind("anthropic")["api_key_header"], "x-api-key");
    assert_eq!(kind("ollama")["api_key_required"], false);
}

#[actix_rt::test]
async fn a_kind_without_an_address_of_its_own_needs_one() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let main = format!(
        "/admin/providers/{}",
        register(&admin, provider("main")).await
    );
    for kind in ["azure", "custom"] {
        let mut body = provider(kind);
        body["kind"] = json!(kind);
        let refusals = [
            admin.post("/admin/providers", body.clone()).await,
            admin.put(&main, json!({"kind": kind})).await,
        ];
        for refusal in refusals {
            let message = refused(&refusal, 400, "missing_field", Some("base_url"));
            assert!(message.contains(&format!("`{kind}`")), "{message}");
        }
        body["base_url"] = json!("https://x.openai.azure.com/openai/v1");
        let path = format!("/admin/providers/{}", register(&admin, body).await);
        let refusal = admin.put(&path, json!({"base_url": null})).await;
        refused(&refusal, 400, "missing_field", Some("base_url"));
    }
    assert_eq!(admin.get(&main).await.json()["kind"], "openai");
}

#[actix_rt::test]
async fn a_kind_on_ones_own_machine_may_do_without_a_key() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    for kind in ["ollama", "vllm", "lmstudio", "custom"] {
        for (name, key) in [
            ("none", None),
            ("null", Some(json!(null))),
            ("empty", Some(json!(""))),
        ] {
            let mut body = json!({
                "name": format!("{kind}, {name}"), "kind": kind, "base_url": "http://localhost:1/v1",
            });
            if let Some(key) = key {
                body["api_key"] = key;
            }
            let created = item(&admin.post("/admin/providers", body).await, 201);
            assert_eq!(created["api_key_preview"], "", "{kind}, {name}");
            // There is nothing that could be sent elsewhere.
            let path = format!("/admin/providers/{}", created["id"].as_str().unwrap());
            let moved = json!({"base_url": "http://localhost:2/v1"});
            item(&admin.put(&path, moved).await, 200);
            let refusal = admin.put(&path, json!({"kind": "openai"})).await;
            let message = refused(&refusal, 400, "invalid_value", Some("api_key"));
            assert!(message.contains("`openai`"), "{message}");
        }
    }
}

#[actix_rt::test]
async fn headers_and_timeouts_are_kept_replaced_and_reset() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let mut body = provider("main");
    body["headers"] = json!({"X-Title": " My App ", "x-secret": "hunter2-hunter2-hunter2"});
    body["timeouts"] = json!({"connect": "1500ms", "idle": "120s", "response": null});
    let created = item(&admin.post("/admin/providers", body).await, 201);
    let headers = json!({"x-title": "…", "x-secret": "hunt…ter2"});
    assert_eq!(created["headers_preview"], headers);
    let timeouts = json!({"connect": "1500ms", "response": null, "idle": "2m"});
    assert_eq!(created["timeouts"], timeouts);

    let path = format!("/admin/providers/{}", created["id"].as_str().unwrap());
    let changed = item(&admin.put(&path, json!({"name": "other"})).await, 200);
    assert_eq!(
        (&changed["headers_preview"], &changed["timeouts"]),
        (&headers, &timeouts)
    );

    let change = json!({"headers": {"x-other": "1"}, "timeouts": {"response": "1h"}});
    let changed = item(&admin.put(&path, change).await, 200);
    assert_eq!(changed["headers_preview"], json!({"x-other": "…"}));
    let timeouts = json!({"connect": null, "response": "1h", "idle": null});
    assert_eq!(changed["timeouts"], timeouts);

    let change = json!({"headers": null, "timeouts": null});
    let changed = item(&admin.put(&path, change).await, 200);
    assert_eq!(changed["headers_preview"], json!({}));
    let timeouts = json!({"connect": null, "response": null, "idle": null});
    assert_eq!(changed["timeouts"], timeouts);
    assert_eq!(admin.get(&path).await.json(), changed);
    assert!(!gateway.log().contains("hunter2"));
}

#[actix_rt::test]
async fn headers_and_timeouts_that_can_t_be_used_are_refused_without_their_values() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let path = format!(
        "/admin/providers/{}",
        register(&admin, provider("main")).await
    );
    let before = providers(&admin).await;
    for (field, value, hint) in [
        (
            "headers",
            json!({"Authorization": "hunter2"}),
            "`authorization`",
        ),
        ("headers", json!({"x-api-key": "hunter2"}), "api_key"),
        ("headers", json!({"Host": "hunter2"}), "`host`"),
        (
            "headers",
            json!({"Content-Length": "2"}),
            "`content-length`",
        ),
        (
            "headers",
            json!({"Transfer-Encoding": "hunter2"}),
            "connection",
        ),
        ("headers", json!({"x y": "hunter2"}), "names such as"),
        (
            "headers",
            json!({"x-a": "hunter2\r\nx-b: 1"}),
            "visible ASCII",
        ),
        ("headers", json!({"x-a": 1}), "both strings"),
        ("headers", json!({"x-a": null}), "both strings"),
        ("headers", json!(["hunter2"]), "object"),
        ("headers", json!("hunter2"), "object"),
        ("headers", json!({"x-a": "x".repeat(9000)}), "8192"),
        ("timeouts", json!("10s"), "object"),
        ("timeouts", json!({"connect": 10}), "as a string"),
        ("timeouts", json!({"connect": "0"}), "longer than zero"),
        ("timeouts", json!({"idle": "25h"}), "24h"),
        ("timeouts", json!({"idle": "soon"}), "`idle`"),
        ("timeouts", json!({"total": "10s"}), "no other members"),
    ] {
        let mut body = provider("other");
        body[field] = value.clone();
        let registered = admin.post("/admin/providers", body).await;
        let changed = admin
            .put(&path, json!({"name": "changed", field: value}))
            .await;
        for response in [registered, changed] {
            let message = refused(&response, 400, "invalid_value", Some(field));
            assert!(message.contains(hint), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
    assert_eq!(providers(&admin).await, before);
}

/// A header may hold a secret as well as the key does.
#[actix_rt::test]
async fn stored_headers_are_not_taken_to_another_origin() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let mut body = provider("main");
    body["headers"] = json!({"x-secret": "hunter2-hunter2"});
    let path = format!("/admin/providers/{}", register(&admin, body).await);
    let before = admin.get(&path).await.json();
    let mut change = json!({"base_url": "https://evil.example/v1", "api_key": "sk-any"});
    let refusal = admin.put(&path, change.clone()).await;
    refused(&refusal, 400, "missing_field", Some("headers"));
    assert_eq!(admin.get(&path).await.json(), before);
    change["headers"] = json!(null);
    let changed = item(&admin.put(&path, change).await, 200);
    assert_eq!(changed["headers_preview"], json!({}));
}

#[actix_rt::test]
async fn each_kind_has_its_own_address() {
    let gateway = TestGateway::start().await;
    for (kind, base_url) in ADDRESSES {
        for (name, given) in [("left out", None), ("null", Some(Value::Null))] {
            let mut body = provider(&format!("{kind}, address {name}"));
            body["kind"] = json!(kind);
            if let Some(given) = given {
                body["base_url"] = given;
            }
            let created = item(&gateway.admin().post("/admin/providers", body).await, 201);
            assert_eq!(created["kind"], json!(kind));
            assert_eq!(created["base_url"], json!(base_url));
        }
    }
}

#[actix_rt::test]
async fn a_key_of_12_characters_or_fewer_shows_nothing() {
    let gateway = TestGateway::start().await;
    for (key, preview) in [
        ("abcdefghijkl", "…"),
        ("x", "…"),
        ("abcdefghijklm", "abcd…jklm"),
    ] {
        let mut body = provider(&format!("key {preview} {}", key.len()));
        body["api_key"] = json!(key);
        let created = item(&gateway.admin().post("/admin/providers", body).await, 201);
        assert_eq!(created["api_key_preview"], json!(preview));
    }
}

#[actix_rt::test]
async fn an_unusable_value_is_refused_by_field_and_not_repeated() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let id = register(&admin, provider("main")).await;
    let before = providers(&admin).await;
    let long = "x".repeat(4097);
    for (field, value, hint) in [
        ("kind", "OpenAI", "openai, openrouter, dashscope, ark"),
        ("kind", "", "openai"),
        ("api_key", "", "empty"),
        ("api_key", " \n", "empty"),
        ("api_key", "hunter2 hunter2", "visible ASCII"),
        ("api_key", "hunter2\r\nX-Evil: 1", "visible ASCII"),
        ("api_key", "hunter2-ключ", "visible ASCII"),
        ("api_key", &long, "4096"),
        ("base_url", "", "https://"),
        ("base_url", "api.openai.com/v1", "https://"),
        ("base_url", "ftp://example.com", "http"),
        ("base_url", "https://", "https://"),
        (
            "base_url",
            "https://user:hunter2@example.com",
            "credentials",
        ),
        ("base_url", "https://example.com/v1?key=hunter2", "query"),
        ("base_url", "https://example.com/v1#hunter2", "fragment"),
        ("base_url", "https://example.com:99999", "https://"),
    ] {
        let mut body = provider("other");
        body[field] = json!(value);
        let registered = admin.post("/admin/providers", body).await;
        let changed = json!({"name": "changed", field: value});
        let changed = admin.put(&format!("/admin/providers/{id}"), changed).await;
        for response in [registered, changed] {
            let message = refused(&response, 400, "invalid_value", Some(field));
            assert!(message.contains(hint), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
    assert_eq!(providers(&admin).await, before);
}

#[actix_rt::test]
async fn any_subset_of_the_fields_can_be_changed() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let id = register(&admin, provider("main")).await;
    let path = format!("/admin/providers/{id}");
    let mut expected = admin.get(&path).await.json();
    for (change, field, value) in [
        (json!({"name": " second "}), "name", json!("second")),
        (
            json!({"api_key": "sk-another-0123456789"}),
            "api_key_preview",
            json!("sk-a…6789"),
        ),
        (
            json!({"base_url": "https://proxy.example/api/", "api_key": "sk-another-0123456789"}),
            "base_url",
            json!("https://proxy.example/api"),
        ),
        (json!({"kind": "ark"}), "kind", json!("ark")),
        (json!({"is_active": false}), "is_active", json!(false)),
        (json!({"is_active": true}), "is_active", json!(true)),
        (
            json!({"base_url": null, "api_key": "sk-another-0123456789"}),
            "base_url",
            json!("https://ark.cn-beijing.volces.com/api/v3"),
        ),
    ] {
        let changed = item(&admin.put(&path, change.clone()).await, 200);
        expected[field] = value;
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected, "{change}");
        assert_eq!(admin.get(&path).await.json(), expected, "{change}");
    }
    assert!(expected["updated_at"].as_str() > expected["created_at"].as_str());

    let whole = json!({
        "name": "all", "kind": "openrouter", "api_key": "short",
        "base_url": "http://localhost:1", "is_active": false,
    });
    let changed = item(&admin.put(&path, whole.clone()).await, 200);
    for field in ["name", "kind", "base_url", "is_active"] {
        assert_eq!(changed[field], whole[field]);
    }
    assert_eq!(changed["api_key_preview"], json!("…"));
}

#[actix_rt::test]
async fn a_change_of_kind_takes_the_kinds_own_address_along_and_no_other() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let path = |id: String| format!("/admin/providers/{id}");
    let own = path(register(&admin, provider("own")).await);
    let change = json!({"kind": "openrouter", "api_key": "sk-or-0123456789"});
    let changed = admin.put(&own, change).await;
    assert_eq!(
        item(&changed, 200)["base_url"],
        json!("https://openrouter.ai/api/v1")
    );

    let mut body = provider("given");
    body["base_url"] = json!("http://localhost:1/v1");
    let given = path(register(&admin, body.clone()).await);
    let changed = admin.put(&given, json!({"kind": "openrouter"})).await;
    assert_eq!(item(&changed, 200)["base_url"], body["base_url"]);
}

/// Or whoever may change a provider could have its key sent to an address of their own.
#[actix_rt::test]
async fn a_stored_key_is_not_taken_to_another_origin() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let mut body = provider("main");
    body["base_url"] = json!("https://api.example/v1");
    let path = format!("/admin/providers/{}", register(&admin, body).await);
    let before = admin.get(&path).await.json();
    for origin in [
        json!("http://api.example/v1"),
        json!("https://api.example:8443/v1"),
        json!("https://api.example.evil.example/v1"),
        json!("https://user.example/v1"),
        json!(null),
    ] {
        let change = json!({"base_url": origin, "name": "other", "is_active": false});
        let refusal = admin.put(&path, change.clone()).await;
        let message = refused(&refusal, 400, "missing_field", Some("api_key"));
        assert!(message.contains("https://api.example to "), "{message}");
        assert!(message.contains("in the same call"), "{message}");
        assert_eq!(admin.get(&path).await.json(), before, "{change}");
    }
    // The same place by another spelling, and another path there.
    for base_url in ["https://API.example:443/v1/", "https://api.example/v2"] {
        let changed = admin.put(&path, json!({"base_url": base_url})).await;
        item(&changed, 200);
    }
    let change = json!({"base_url": "https://other.example/v1", "api_key": "sk-of-the-other-one"});
    let changed = item(&admin.put(&path, change).await, 200);
    assert_eq!(changed["base_url"], json!("https://other.example/v1"));

    let own = format!(
        "/admin/providers/{}",
        register(&admin, provider("own")).await
    );
    let refusal = admin.put(&own, json!({"kind": "ark"})).await;
    let message = refused(&refusal, 400, "missing_field", Some("api_key"));
    assert!(
        message.contains("https://api.openai.com to https://ark.cn-beijing.volces.com"),
        "{message}"
    );
}

#[actix_rt::test]
async fn a_change_of_nothing_changes_nothing() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let id = register(&admin, provider("main")).await;
    let path = format!("/admin/providers/{id}");
    let before = admin.get(&path).await.json();
    let mut after = item(&admin.put(&path, json!({})).await, 200);
    after["updated_at"] = before["updated_at"].clone();
    assert_eq!(after, before);
}

#[actix_rt::test]
async fn a_provider_name_is_taken_once() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    register(&admin, provider("main")).await;
    let other = register(&admin, provider("other")).await;
    let other = format!("/admin/providers/{other}");
    let before = providers(&admin).await;

    let registered = admin.post("/admin/providers", provider(" main ")).await;
    let renamed = json!({"name": "main", "is_active": false});
    let renamed = admin.put(&other, renamed).await;
    for response in [registered, renamed] {
        let message = refused(&response, 409, "conflict", Some("name"));
        assert!(
            message.contains("provider has the name `main`"),
            "{message}"
        );
    }
    assert_eq!(providers(&admin).await, before);

    let unchanged = admin.put(&other, json!({"name": "other"})).await;
    assert_eq!(unchanged.status(), 200);
    register(&admin, provider("Main")).await;
}

#[actix_rt::test]
async fn a_deleted_provider_is_gone_and_its_name_free() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let id = register(&admin, provider("main")).await;
    let path = format!("/admin/providers/{id}");
    let deleted = admin.delete(&path).await;
    assert_eq!((deleted.status(), deleted.text()), (204, String::new()));
    for response in [
        admin.get(&path).await,
        admin.put(&path, json!({"name": "x"})).await,
        admin.delete(&path).await,
    ] {
        let message = refused(&response, 404, "not_found", None);
        assert!(message.contains(&id), "{message}");
    }
    assert_eq!(providers(&admin).await, json!([]));
    register(&admin, provider("main")).await;
}

#[actix_rt::test]
async fn a_provider_in_use_stays_and_its_models_are_named() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let id = register(&admin, provider("main")).await;
    let mut models = Vec::new();
    for name in ["gpt-4o", "deepseek/deepseek-r1:free"] {
        let body = json!({"name": name, "provider_id": id});
        models.push(map(&admin, body).await);
    }
    let path = format!("/admin/providers/{id}");
    let message = refused(&admin.delete(&path).await, 409, "conflict", None);
    for name in ["`gpt-4o`", "`deepseek/deepseek-r1:free`"] {
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(admin.get(&path).await.status(), 200);

    for model in models {
        admin.delete(&format!("/admin/models/{model}")).await;
    }
    assert_eq!(admin.delete(&path).await.status(), 204);
}

#[actix_rt::test]
async fn a_provider_key_is_never_shown() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    let key = "sk-provider-key-0123456789";
    let created = admin.post("/admin/providers", provider("main")).await;
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/providers/{id}");
    let answers = [
        created,
        admin.get(&path).await,
        admin.get("/admin/providers").await,
        admin.put(&path, json!({"api_key": key})).await,
        admin.post("/admin/providers", provider("main")).await,
        admin
            .put(
                &format!("/admin/providers/{NOBODY}"),
                json!({"api_key": key}),
            )
            .await,
        admin
            .put(&path, json!({"api_key": key, "is_active": key}))
            .await,
        admin.put(&path, json!({"kind": key})).await,
        admin.put(&path, json!([key])).await,
        admin.put(&path, json!(key)).await,
    ];
    for response in answers {
        assert!(!response.text().contains(key), "{}", response.text());
    }
    let fields = [
        "api_key_preview",
        "base_url",
        "created_at",
        "headers_preview",
        "id",
        "is_active",
        "kind",
        "name",
        "timeouts",
        "updated_at",
    ];
    assert_eq!(field_names(&admin.get(&path).await.json()), fields);
}
