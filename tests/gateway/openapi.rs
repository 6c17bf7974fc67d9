//! `GET /openapi.json` describes what the server serves: all of it, nothing else, and examples that
//! it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Map, Value};

use crate::support::{
    client::{Request, Response},
    gateway::{ADMIN_KEY, TestGateway},
    provider::ScriptedProvider,
    script::Answer,
};

async fn document(gateway: &TestGateway) -> Value {
    let describe = Request::get("/openapi.json");
    let answer = describe.send_to(gateway.address()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/json")
    );
    answer.json()
}

fn object(value: &Value) -> &Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"))
}

/// Every path with its methods as the server names them, in the order of its tables.
fn methods(document: &Value) -> BTreeMap<&str, String> {
    let named = |item: &Value| {
        let all = ["get", "post", "put", "delete"];
        assert!(object(item).keys().all(|name| all.contains(&name.as_str())));
        let served = all.iter().filter(|method| item.get(**method).is_some());
        let served: Vec<_> = served.map(|method| method.to_uppercase()).collect();
        served.join(", ").replace("GET", "GET, HEAD")
    };
    object(&document["paths"])
        .iter()
        .map(|(path, item)| (path.as_str(), named(item)))
        .collect()
}

/// A path of which something can be asked: parameters become something that nothing has.
fn asked_for(path: &str) -> String {
    path.replace("{id}", super::admin::NOBODY)
        .replace("{model}", "a/b")
        .replace("{file}", "page.css")
}

#[actix_rt::test]
async fn each_path_serves_just_the_methods_that_the_description_has() {
    let gateway = TestGateway::start().await;
    let document = document(&gateway).await;
    let methods = methods(&document);
    assert!(methods.len() > 25, "{methods:?}");
    for (path, methods) in &methods {
        let path = asked_for(path);
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let request = Request::new(method, &path).bearer(ADMIN_KEY);
            let answer = request.send_to(gateway.address()).await;
            let is_described = methods.split(", ").any(|described| described == method);
            assert_eq!(answer.status() != 405, is_described, "{method} {path}");
            if !is_described {
                assert_eq!(
                    answer.header("allow").as_deref(),
                    Some(methods.as_str()),
                    "{method} {path}"
                );
            }
        }
    }
}

/// What the tests and the documents know of is in the description too.
#[actix_rt::test]
async fn no_path_is_left_out() {
    let gateway = TestGateway::start().await;
    let document = document(&gateway).await;
    let described: BTreeSet<_> = object(&document["paths"]).keys().cloned().collect();
    let mut named = BTreeSet::new();
    for file in ["README.md", "docs/ENDPOINTS.md"] {
        let file = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(file).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| "));
        for path in rows.flat_map(paths_in) {
            named.insert(path);
        }
    }
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.difference(&described).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

/// The paths between backquotes that a row of a table names whole.
fn paths_in(row: &str) -> impl Iterator<Item = String> {
    let quoted = row.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|text| text.split(' ').next_back())
        .filter(|text| {
            let starts = ["/v1/", "/admin/", "/healthz", "/readyz", "/metrics"];
            let own = ["/openapi.json", "/docs"];
            let mut starts = starts.iter().chain(&own);
            starts.any(|start| text.starts_with(start))
        })
        .filter(|text| !text.ends_with('/') && !text.contains(['?', '*']))
        .filter(|text| *text != "/v1/realtime")
        .map(str::to_owned)
}

#[actix_rt::test]
async fn it_is_openapi_3_1_and_of_this_version() {
    let gateway = TestGateway::start().await;
    let document = document(&gateway).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[actix_rt::test]
async fn every_refusal_is_described_as_it_is_answered() {
    let gateway = TestGateway::start().await;
    let document = document(&gateway).await;
    let tags = document["tags"].as_array().unwrap();
    let tags: BTreeSet<_> = tags
        .iter()
        .map(|tag| &tag["name"])
        .map(Value::to_string)
        .collect();
    for (path, item) in object(&document["paths"]) {
        for (method, operation) in object(item) {
            assert!(tags.contains(&operation["tags"][0].to_string()), "{path}");
            let statuses: Vec<_> = object(&operation["responses"]).keys().collect();
            for (status, response) in object(&operation["responses"]) {
                let name = format!("{method} {path} {status}");
                let headers = object(&response["headers"]);
                assert!(headers.contains_key("x-gateway-request-id"), "{name}");
                if status.starts_with(['4', '5']) {
                    let content = &response["content"]["application/json"];
                    for (code, example) in object(&content["examples"]) {
                        assert_eq!(example["value"]["error"]["code"], **code, "{name}");
                    }
                    assert!(content["schema"].to_string().contains("Error\""), "{name}");
                }
                match status.as_str() {
                    "401" => assert!(headers.contains_key("www-authenticate"), "{name}"),
                    "503" => assert!(headers.contains_key("retry-after"), "{name}"),
                    _ => {}
                }
            }
            if operation.get("security").is_some() {
                assert!(statuses.iter().any(|status| *status == "401"), "{path}");
                let request = Request::new(&method.to_uppercase(), &asked_for(path));
                assert_eq!(request.send_to(gateway.address()).await.status(), 401);
            }
        }
    }
}

/// The request bodies that an operation's description shows, by media type.
fn examples(operation: &Value) -> Vec<(String, Value)> {
    let Some(content) = operation.pointer("/requestBody/content") else {
        return Vec::new();
    };
    let of_type = |(media_type, content): (&String, &Value)| {
        let one = content.get("example").cloned();
        let several = content.get("examples").map(|examples| {
            let examples = object(examples).values();
            examples.map(|example| example["value"].clone()).collect()
        });
        let all: Vec<_> = one
            .into_iter()
            .chain(several.unwrap_or_else(Vec::new))
            .collect();
        assert!(!all.is_empty(), "no example: {content}");
        all.into_iter()
            .map(|example| (media_type.clone(), example))
            .collect::<Vec<_>>()
    };
    object(content).iter().flat_map(of_type).collect()
}

const PROVIDER_IN_EXAMPLES: &str = "0198c5a2-7f3e-7000-8000-000000000001";

/// The examples of the operations of `/admin/{list}`, sent one after another: first those that
/// make items, then those that change the last one made. Answers the id of the first.
async fn try_out(gateway: &TestGateway, document: &Value, list: &str, provider: &str) -> String {
    let admin = gateway.admin();
    let mut made = Vec::new();
    let path = format!("/admin/{list}");
    let registering = &document["paths"][&path]["post"];
    for (_, example) in examples(registering) {
        let body = example.to_string().replace(PROVIDER_IN_EXAMPLES, provider);
        let answer = admin.send(Request::post(&path).json(&body)).await;
        assert_eq!(answer.status(), 201, "{body}: {}", answer.text());
        assert!(is_described(registering, &answer));
        made.push(answer.text_of("id"));
    }
    let changing = &document["paths"][format!("{path}/{{id}}")]["put"];
    for (_, example) in examples(changing) {
        let body = example.to_string().replace(PROVIDER_IN_EXAMPLES, provider);
        let path = format!("{path}/{}", made.last().unwrap());
        let answer = admin.send(Request::new("PUT", &path).json(&body)).await;
        assert_eq!(answer.status(), 200, "{body}: {}", answer.text());
        assert!(is_described(changing, &answer));
    }
    made.swap_remove(0)
}

/// Whether the description has a schema for this status; scripts/test.sh compares bodies with theirs.
fn is_described(operation: &Value, answer: &Response) -> bool {
    let response = &operation["responses"][answer.status().to_string()];
    response["content"]["application/json"]["schema"]["$ref"].is_string()
}

#[actix_rt::test]
async fn every_example_of_the_admin_api_is_accepted() {
    let gateway = TestGateway::start().await;
    let document = document(&gateway).await;
    let provider = try_out(&gateway, &document, "providers", "").await;
    try_out(&gateway, &document, "models", &provider).await;
    try_out(&gateway, &document, "keys", "").await;
    let tried = ["providers", "models", "keys"];
    for (path, item) in object(&document["paths"]) {
        let has_body = object(item)
            .values()
            .any(|o| o.get("requestBody").is_some());
        let is_tried = tried.iter().any(|list| {
            path == &format!("/admin/{list}") || path == &format!("/admin/{list}/{{id}}")
        });
        assert!(!has_body || is_tried || path.starts_with("/v1/"), "{path}");
    }
}

fn form(fields: &Value) -> Vec<u8> {
    let part = |(name, value): (&String, &Value)| {
        let value = value.as_str().unwrap();
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts: String = object(fields).iter().map(part).collect();
    format!("{parts}--x--\r\n").into_bytes()
}

#[actix_rt::test]
async fn every_example_of_the_data_path_is_forwarded() {
    let gateway = TestGateway::start().await;
    let document = document(&gateway).await;
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|_| Answer::json(200, "{}"));
    let key = gateway.user_key().await;
    let mut served = BTreeSet::new();
    let mut forwarded = 0;
    for (path, item) in object(&document["paths"]) {
        let Some(operation) = item.get("post").filter(|_| path.starts_with("/v1/")) else {
            continue;
        };
        for (media_type, example) in examples(operation) {
            let model = example["model"].as_str();
            let model = model.unwrap_or("omni-moderation-latest").to_owned();
            if served.insert(model.clone()) {
                gateway.serve(&model, &provider).await;
            }
            let request = Request::post(path).bearer(&key);
            let request = match media_type.as_str() {
                "application/json" => request.value(&example),
                _ => request
                    .header("Content-Type", "multipart/form-data; boundary=x")
                    .body(form(&example)),
            };
            let answer = request.send_to(gateway.address()).await;
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
            forwarded += 1;
        }
    }
    assert!(forwarded >= 18, "{forwarded}");
    assert_eq!(provider.request_count(), forwarded);
}

#[actix_rt::test]
async fn the_description_is_where_operators_are() {
    let gateway = TestGateway::start_with(&[("ADMIN_LISTEN_ADDR", "127.0.0.1:0")]).await;
    let operators = gateway.admin_address().unwrap();
    for path in ["/openapi.json", "/docs", "/docs/page.js"] {
        let show = Request::get(path);
        assert_eq!(show.send_to(operators).await.status(), 200);
        let elsewhere = show.send_to(gateway.address()).await;
        assert_eq!(elsewhere.error_code(), "unknown_url");
    }
}

/// What a page refers to.
fn references(page: &str) -> Vec<&str> {
    let starts = ["src=\"", "href=\""];
    starts
        .iter()
        .flat_map(|start| page.split(start).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[actix_rt::test]
async fn the_page_is_made_of_files_of_the_gateway_s_own() {
    let gateway = TestGateway::start().await;
    let page = Request::get("/docs").send_to(gateway.address()).await;
    assert_eq!(page.status(), 200);
    let page = page.text();
    let files = references(&page);
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let file = Request::get(&format!("/{file}"));
        assert_eq!(file.send_to(gateway.address()).await.status(), 200);
    }
    let nothing = Request::get("/docs/nothing");
    let nothing = nothing.send_to(gateway.address()).await;
    assert_eq!(nothing.error_code(), "unknown_url");
}

#[actix_rt::test]
async fn the_page_asks_nobody_else() {
    let gateway = TestGateway::start().await;
    for path in ["/docs", "/docs/page.js", "/docs/page.css"] {
        let file = Request::get(path).send_to(gateway.address()).await;
        for elsewhere in ["http:", "https:", "\"//", "(//", "ws:", "wss:"] {
            assert!(!file.text().contains(elsewhere), "{path}: {elsewhere}");
        }
    }
    // What the viewer's own script could think of, this forbids.
    let page = Request::get("/docs").send_to(gateway.address()).await;
    let policy = page.header("content-security-policy").unwrap();
    let rules: BTreeMap<_, _> = policy
        .split("; ")
        .map(|rule| rule.split_once(' ').unwrap())
        .collect();
    assert_eq!(rules["default-src"], "'none'");
    for (name, sources) in rules {
        let sources: BTreeSet<_> = sources.split(' ').collect();
        let allowed = match name {
            "img-src" => BTreeSet::from(["'self'", "data:"]),
            _ => BTreeSet::from(["'self'", "'none'"]),
        };
        assert!(sources.is_subset(&allowed), "{name}: {sources:?}");
    }
}
