//! `POST /v1/completions`: text, whole or streamed.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{Answer, Events};
use crate::chat::{CREATED, event, filler, usage};
use crate::endpoints::Call;
use crate::error::MockError;

/// Answers with text.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let model = call.model()?;
    call.field("prompt")?;
    let settings = call.settings;
    let usage = usage(settings.prompt_tokens, settings.chunks);
    if !call.request.is_streamed() {
        let mut body = completion(model, &filler(settings.whole_text_bytes()), Some("stop"));
        body["usage"] = usage;
        return Ok(Answer::json(&body));
    }
    let mut last = completion(model, "", Some("stop"));
    if call.request.wants_usage() {
        last["usage"] = usage;
    }
    Ok(Answer::Stream(Events {
        opening: Vec::new(),
        repeated: event(&completion(model, &filler(settings.chunk_bytes), None)),
        times: settings.chunks,
        closing: vec![event(&last), Bytes::from_static(b"data: [DONE]\n\n")],
    }))
}

fn completion(model: &str, text: &str, finish: Option<&str>) -> Value {
    json!({
        "id": "cmpl-mock",
        "object": "text_completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}],
    })
}
