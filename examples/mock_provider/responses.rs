//! `POST /v1/responses`: text, whole or as the events of OpenAI's newer API.

use serde_json::{Value, json};

use crate::answer::{Answer, Events, named};
use crate::chat::{CREATED, filler};
use crate::endpoints::Call;
use crate::error::MockError;

/// Each event has a number of its own, so all are built; beyond this there are fewer and longer.
const MOST_EVENTS: usize = 10_000;

/// Answers with text.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let model = call.model()?;
    call.field("input")?;
    let settings = call.settings;
    if !call.request.is_streamed() {
        let text = filler(settings.whole_text_bytes());
        return Ok(Answer::json(&completed(call, model, &text)));
    }
    let chunks = settings.chunks.min(MOST_EVENTS);
    let piece = filler(settings.chunk_bytes);
    let events = events(call, model, &piece, chunks).into_iter().enumerate();
    let opening = events.map(|(number, mut event)| {
        event["sequence_number"] = json!(number);
        named(&event)
    });
    Ok(Answer::Stream(Events {
        opening: opening.collect(),
        repeated: bytes::Bytes::new(),
        times: 0,
        closing: Vec::new(),
    }))
}

fn events(call: &Call<'_>, model: &str, piece: &str, chunks: usize) -> Vec<Value> {
    let whole = piece.repeat(chunks);
    let begun = response(model, "in_progress", json!([]), &Value::Null);
    let place = |kind: &str| json!({"type": kind, "output_index": 0});
    let within = |kind: &str| {
        let mut event = place(kind);
        event["item_id"] = json!("msg_mock");
        event["content_index"] = json!(0);
        event
    };
    let with = |mut event: Value, field: &str, value: Value| {
        event[field] = value;
        event
    };
    let delta = with(within("response.output_text.delta"), "delta", json!(piece));
    let delta = with(delta, "logprobs", json!([]));
    let mut events = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
        with(
            place("response.output_item.added"),
            "item",
            message("in_progress", json!([])),
        ),
        with(within("response.content_part.added"), "part", part("")),
    ];
    events.extend(vec![delta; chunks]);
    let done = with(within("response.output_text.done"), "text", json!(whole));
    events.extend([
        with(done, "logprobs", json!([])),
        with(within("response.content_part.done"), "part", part(&whole)),
        with(
            place("response.output_item.done"),
            "item",
            message("completed", json!([part(&whole)])),
        ),
        json!({"type": "response.completed", "response": completed(call, model, &whole)}),
    ]);
    events
}

fn completed(call: &Call<'_>, model: &str, text: &str) -> Value {
    let (input, output) = (call.settings.prompt_tokens, call.settings.chunks);
    let usage = json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + output,
    });
    let output = json!([message("completed", json!([part(text)]))]);
    response(model, "completed", output, &usage)
}

fn response(model: &str, status: &str, output: Value, usage: &Value) -> Value {
    json!({
        "id": "resp_mock",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "max_output_tokens": null,
        "model": model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "store": true,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
        "user": null,
        "metadata": {},
    })
}

fn message(status: &str, content: Value) -> Value {
    json!({
        "id": "msg_mock",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    })
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
