//! Every endpoint of the OpenAI API, and Anthropic's messages, pass in the same way.

use serde_json::json;

use super::{Scene, refused};
use crate::support::{
    client::{Request, Response},
    gateway::PROVIDER_KEY,
    http::sha256,
    script::Answer,
};

const JSON: [&str; 10] = [
    "chat/completions",
    "completions",
    "embeddings",
    "responses",
    "moderations",
    "images/generations",
    "audio/speech",
    "rerank",
    "messages",
    "messages/count_tokens",
];

const FORMS: [&str; 4] = [
    "images/edits",
    "images/variations",
    "audio/transcriptions",
    "audio/translations",
];

const ANTHROPIC: [&str; 2] = ["messages", "messages/count_tokens"];

const FORM_TYPE: &str = "multipart/form-data; boundary=\"-- x'y\"";

/// A form in which everything but the model is bytes to be left alone.
fn form(model: &str, file: &[u8]) -> Vec<u8> {
    let before = "preamble\r\n---- x'y\r\ncontent-disposition: form-data; name=\"file\"; \
        filename=\"m\u{f6}del.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
    let between = "\r\n---- x'y\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n";
    let after = "\r\n---- x'y \t\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n\
        model\r\n---- x'y--\r\nepilogue";
    let pieces = [
        before.as_bytes(),
        file,
        between.as_bytes(),
        model.as_bytes(),
    ];
    [pieces.concat(), after.as_bytes().to_vec()].concat()
}

/// Bytes of every kind, and what looks like delimiters and isn't.
fn file() -> Vec<u8> {
    let look_alikes = b"\r\n---- x'\r\n x---- x'y--\r\n\r\n-- x'y\r\nname=\"model\"\r\n\r\n\0";
    let noise: Vec<u8> = (0..=255_u8).cycle().take(1 << 20).collect();
    [look_alikes, &noise[..], look_alikes].concat()
}

/// Checks an error of the gateway's own in Anthropic's envelope: status, type, code.
fn refused_by_anthropic(response: &Response, status: u16, r#type: &str, code: &str) -> String {
    assert_eq!(response.status(), status, "{}", response.text());
    let body = response.json();
    assert_eq!(body["type"], "error", "{body}");
    assert_eq!(body["error"]["type"], r#type, "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
    let id = response.header("x-gateway-request-id");
    assert_eq!(body["request_id"].as_str(), id.as_deref());
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[actix_rt::test]
async fn every_json_endpoint_passes_with_its_model_replaced() {
    let scene = Scene::start().await;
    scene.map("alias", "vendor/m:1").await;
    scene
        .provider
        .otherwise(|_| Answer::json(200, r#"{"is":"the provider's"}"#));
    for (index, path) in JSON.into_iter().enumerate() {
        let body = r#"{ "input":[1e5],"model":"alias" }"#;
        let request = scene.post(&format!("/v1/{path}?a=%20b")).json(body);
        let response = scene.send(&request).await;
        assert_eq!(response.text(), r#"{"is":"the provider's"}"#, "{path}");
        let received = scene.provider.request(index).await;
        assert_eq!(received.method(), "POST");
        assert_eq!(received.target(), format!("/v1/{path}?a=%20b"));
        assert_eq!(received.text(), body.replace("alias", "vendor/m:1"));
        let authorization = received.header("authorization");
        assert_eq!(authorization, Some(format!("Bearer {PROVIDER_KEY}")));
    }
}

#[actix_rt::test]
async fn a_binary_answer_comes_back_byte_for_byte() {
    let scene = Scene::start().await;
    let speech: Vec<u8> = (0..=255_u8).cycle().take(100_000).collect();
    let answer = Answer::with_headers(200, &[("content-type", "audio/mpeg")], &speech);
    scene.provider.next(answer);
    let request = scene.post("/v1/audio/speech");
    let response = scene.send(&request.json(r#"{"model":"m"}"#)).await;
    assert_eq!(
        response.header("content-type").as_deref(),
        Some("audio/mpeg")
    );
    assert_eq!(response.sha256(), sha256(&speech));
}

#[actix_rt::test]
async fn every_form_passes_with_its_model_replaced_and_nothing_else() {
    let scene = Scene::start().await;
    scene.map("alias", "whisper/通义").await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let file = file();
    let mut sent = 0;
    for path in FORMS {
        for (model, expected) in [("alias", "whisper/通义"), ("m", "m")] {
            let request = scene.post(&format!("/v1/{path}"));
            let request = request.header("Content-Type", FORM_TYPE);
            let whole = form(model, &file);
            let chunks: Vec<&[u8]> = whole.chunks(100_000).collect();
            for request in [request.clone().body(&whole), request.chunked(&chunks)] {
                let response = scene.send(&request).await;
                assert_eq!(response.status(), 200, "{}", response.text());
                let received = scene.provider.request(sent).await;
                sent += 1;
                assert_eq!(received.target(), format!("/v1/{path}"));
                assert_eq!(received.header("content-type").as_deref(), Some(FORM_TYPE));
                let expected = form(expected, &file);
                assert!(received.body == expected, "{path}: {}", received.body.len());
                let length = expected.len().to_string();
                assert_eq!(received.header("content-length"), Some(length));
            }
        }
    }
}

#[actix_rt::test]
async fn a_form_s_part_that_says_its_length_says_the_right_one() {
    let scene = Scene::start().await;
    scene.map("alias", "a longer name").await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let form = |length: usize, model: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Length: {length}\r\n\
             Content-Type: text/plain\r\n\r\n{model}\r\n--b--\r\n"
        )
    };
    let request = scene.post("/v1/audio/transcriptions");
    let request = request.header("Content-Type", "multipart/form-data; boundary=b");
    let response = scene.send(&request.body(form(5, "alias"))).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    let received = scene.provider.request(0).await;
    assert_eq!(received.text(), form(13, "a longer name"));
}

#[actix_rt::test]
async fn a_form_endpoint_takes_json_as_well() {
    let scene = Scene::start().await;
    scene.map("alias", "m2").await;
    scene.provider.next(Answer::json(200, "{}"));
    let body = r#"{"model":"alias","image_url":"x"}"#;
    let response = scene.send(&scene.post("/v1/images/edits").json(body)).await;
    assert_eq!(response.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(received.text(), body.replace("alias", "m2"));
}

#[actix_rt::test]
async fn a_form_that_can_t_be_used_is_refused_with_its_own_code() {
    let scene = Scene::start().await;
    let part = |name: &str, rest: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\nm\r\n")
    };
    let model = part("model", "");
    let b = "multipart/form-data; boundary=b";
    let cases = [
        (b, format!("{model}--b--"), 200, ""),
        (b, String::new(), 400, "invalid_form"),
        (b, model.clone(), 400, "invalid_form"),
        (b, format!("{model}--c--"), 400, "invalid_form"),
        (b, format!("{model}\n--b--"), 400, "invalid_form"),
        (b, format!("{model}--b--\r\n{model}"), 400, "invalid_form"),
        (b, "{\"model\":\"m\"}".to_owned(), 400, "invalid_form"),
        (b, format!("{}--b--", part("x", "")), 400, "missing_model"),
        (
            b,
            format!("{}--b--", part("Model", "")),
            400,
            "missing_model",
        ),
        (b, format!("{model}{model}--b--"), 400, "invalid_model"),
        (
            b,
            format!("{}--b--", part("model", "; filename=\"m\"")),
            400,
            "invalid_model",
        ),
        (
            b,
            format!("{}--b--", model.replace("\r\nm\r\n", "\r\nnone\r\n")),
            404,
            "model_not_found",
        ),
        (
            "multipart/form-data",
            format!("{model}--b--"),
            400,
            "invalid_form",
        ),
        (
            "multipart/form-data; boundary=",
            format!("{model}--b--"),
            400,
            "invalid_form",
        ),
        ("text/plain", "x".to_owned(), 415, "unsupported_media_type"),
        (
            "application/x-www-form-urlencoded",
            "model=m".to_owned(),
            415,
            "unsupported_media_type",
        ),
    ];
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    for (content_type, body, status, code) in cases {
        let request = scene.post("/v1/audio/translations");
        let request = request.header("Content-Type", content_type).body(&body);
        let response = scene.send(&request).await;
        match status {
            200 => assert_eq!(response.status(), 200, "{}", response.text()),
            _ => drop(refused(&response, status, code)),
        }
    }
    let two_types = scene.post("/v1/audio/translations");
    let two_types = two_types
        .header("Content-Type", b)
        .header("Content-Type", b);
    let response = scene.send(&two_types.body(format!("{model}--b--"))).await;
    refused(&response, 415, "unsupported_media_type");
    assert_eq!(scene.provider.request_count(), 1);
}

#[actix_rt::test]
async fn a_form_over_the_limit_is_refused() {
    let scene = Scene::start_with(&[("MAX_BODY_BYTES", "64KiB")]).await;
    let request = scene.post("/v1/audio/transcriptions");
    let request = request.header("Content-Type", FORM_TYPE);
    let response = scene.send(&request.body(form("m", &file()))).await;
    refused(&response, 413, "request_too_large");
}

#[actix_rt::test]
async fn a_moderation_may_leave_its_model_out() {
    let scene = Scene::start().await;
    let request = |body: &str| scene.post("/v1/moderations").json(body);
    let response = scene.send(&request(r#"{"input":"x"}"#)).await;
    let message = refused(&response, 404, "model_not_found");
    assert!(message.contains("`omni-moderation-latest`"), "{message}");

    scene.map("omni-moderation-latest", "guard").await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let response = scene.send(&request(r#"{"input":"x"}"#)).await;
    assert_eq!(response.status(), 200);
    let received = scene.provider.request(0).await;
    assert_eq!(received.text(), r#"{"model":"guard","input":"x"}"#);

    let response = scene.send(&scene.post("/v1/embeddings").json("{}")).await;
    refused(&response, 400, "missing_model");
}

#[actix_rt::test]
async fn anthropic_s_endpoints_take_the_key_in_either_header() {
    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let other = scene.gateway.user_key().await;
    for path in ANTHROPIC {
        let ask = |keys: [Option<&str>; 2]| {
            let mut request = Request::post(&format!("/v1/{path}"));
            if let Some(key) = keys[0] {
                request = request.bearer(key);
            }
            if let Some(key) = keys[1] {
                request = request.header("X-Api-Key", key);
            }
            let request = request.header("anthropic-version", "2023-06-01");
            let request = request.json(r#"{"model":"m"}"#);
            let scene = &scene;
            async move { scene.send(&request).await }
        };
        let key = scene.key.as_str();
        for keys in [[Some(key), None], [None, Some(key)], [Some(key), Some(key)]] {
            assert_eq!(ask(keys).await.status(), 200, "{path}");
        }
        for keys in [[Some(key), Some(&other)], [Some(&other), Some(key)]] {
            let response = ask(keys).await;
            let message =
                refused_by_anthropic(&response, 401, "authentication_error", "invalid_api_key");
            assert!(message.contains("different keys"), "{message}");
        }
        for keys in [
            [None, None],
            [None, Some("sk-ant-x")],
            [Some("sk-ant-x"), None],
        ] {
            let response = ask(keys).await;
            refused_by_anthropic(&response, 401, "authentication_error", "invalid_api_key");
        }
    }
    let received = scene.provider.request(1).await;
    assert_eq!(
        received.header("anthropic-version").as_deref(),
        Some("2023-06-01")
    );
    let raw = String::from_utf8(received.head.raw).unwrap();
    assert!(!raw.contains(&scene.key), "{raw}");
    assert_eq!(scene.provider.request_count(), 6);
}

#[actix_rt::test]
async fn the_other_endpoints_take_no_key_from_x_api_key() {
    let scene = Scene::start().await;
    let request = Request::post("/v1/chat/completions").header("x-api-key", &scene.key);
    let response = scene.send(&request.json(r#"{"model":"m"}"#)).await;
    refused(&response, 401, "invalid_api_key");
}

#[actix_rt::test]
async fn anthropic_s_endpoints_are_refused_in_anthropic_s_words() {
    let scene = Scene::start_with(&[("MAX_BODY_BYTES", "1KiB")]).await;
    for path in ANTHROPIC {
        let post = || scene.post(&format!("/v1/{path}"));
        for (request, status, r#type, code) in [
            (
                post().json("{"),
                400,
                "invalid_request_error",
                "invalid_json",
            ),
            (
                post().json("{}"),
                400,
                "invalid_request_error",
                "missing_model",
            ),
            (
                post().json(r#"{"model":"x"}"#),
                404,
                "not_found_error",
                "model_not_found",
            ),
            (
                post().json(" ".repeat(1025)),
                413,
                "request_too_large",
                "request_too_large",
            ),
            (
                Request::get(&format!("/v1/{path}")),
                405,
                "invalid_request_error",
                "method_not_allowed",
            ),
        ] {
            refused_by_anthropic(&scene.send(&request).await, status, r#type, code);
        }
        // A provider's own error is relayed as it is.
        let error = json!({"type": "error", "error": {"type": "overloaded_error"}}).to_string();
        scene.provider.next(Answer::json(529, &error));
        let response = scene.send(&post().json(r#"{"model":"m"}"#)).await;
        assert_eq!((response.status(), response.text()), (529, error));
    }
}

#[actix_rt::test]
async fn whatever_else_is_under_v1_is_unknown() {
    let scene = Scene::start().await;
    for path in [
        "realtime",
        "files",
        "batches",
        "chat/completions/x",
        "responses/resp_1",
        "messages/batches",
        "images",
        "audio/speech/",
        "Embeddings",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let request = Request::new(method, &format!("/v1/{path}"));
            let response = scene.send(&request.bearer(&scene.key)).await;
            refused(&response, 404, "unknown_url");
        }
    }
    for path in JSON
        .iter()
        .chain(&FORMS)
        .filter(|path| !ANTHROPIC.contains(path))
    {
        let request = Request::get(&format!("/v1/{path}")).bearer(&scene.key);
        let response = scene.send(&request).await;
        refused(&response, 405, "method_not_allowed");
        assert_eq!(response.header("allow").as_deref(), Some("POST"));
    }
    assert_eq!(scene.provider.connection_count(), 0);
}
