//! `POST /v1/responses`: text, JSON or a tool call, whole or as the events of OpenAI's newer API.

use serde_json::{Value, json};

use crate::answer::{Answer, Events, named};
use crate::chat::{CREATED, filler};
use crate::endpoints::Call;
use crate::error::MockError;
use crate::tools::{self, ToolCall};

/// Each event has a number of its own, so all are built; beyond this there are fewer and longer.
const MOST_EVENTS: usize = 10_000;

/// What the model says.
enum Said {
    Text(String),
    Call(ToolCall),
}

/// Answers with text, JSON or a tool call.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let model = call.model()?;
    call.field("input")?;
    let is_streamed = call.request.is_streamed();
    let forced = match tools::forced_call(call.request)? {
        Some(tool_call) => Some(Said::Call(tool_call)),
        None => tools::structured(&call.json()?["text"]["format"]).map(Said::Text),
    };
    let settings = call.settings;
    let chunks = settings.chunks.min(MOST_EVENTS);
    let piece = filler(settings.chunk_bytes);
    let (said, pieces) = match forced {
        Some(said) => {
            let pieces = tools::pieces(&said.text());
            (said, pieces)
        }
        None if is_streamed => (Said::Text(piece.repeat(chunks)), vec![piece; chunks]),
        None => {
            let text = filler(settings.whole_text_bytes());
            (Said::Text(text), Vec::new())
        }
    };
    if !is_streamed {
        return Ok(Answer::json(&completed(call, model, &said)));
    }
    let events = events(call, model, &said, &pieces).into_iter().enumerate();
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

impl Said {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Call(call) => call.arguments.to_string(),
        }
    }

    /// The item of `output` when it is complete.
    fn item(&self) -> Value {
        match self {
            Self::Text(text) => message("completed", json!([part(text)])),
            Self::Call(call) => function_call(call, "completed", &call.arguments.to_string()),
        }
    }

    fn begun(&self) -> Value {
        match self {
            Self::Text(_) => message("in_progress", json!([])),
            Self::Call(call) => function_call(call, "in_progress", ""),
        }
    }

    /// The events between an item's beginning and its end.
    fn events(&self, pieces: &[String]) -> Vec<Value> {
        match self {
            Self::Text(text) => text_events(text, pieces),
            Self::Call(call) => call_events(call, pieces),
        }
    }
}

fn events(call: &Call<'_>, model: &str, said: &Said, pieces: &[String]) -> Vec<Value> {
    let begun = response(model, "in_progress", json!([]), &Value::Null);
    let item = |kind: &str, item: Value| json!({"type": kind, "output_index": 0, "item": item});
    let mut events = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
        item("response.output_item.added", said.begun()),
    ];
    events.extend(said.events(pieces));
    events.extend([
        item("response.output_item.done", said.item()),
        json!({"type": "response.completed", "response": completed(call, model, said)}),
    ]);
    events
}

fn text_events(text: &str, pieces: &[String]) -> Vec<Value> {
    let event = |kind: &str, field: &str, value: Value| json!({"type": kind, "output_index": 0, "item_id": "msg_mock", "content_index": 0, field: value});
    let with_logprobs = |mut event: Value| {
        event["logprobs"] = json!([]);
        event
    };
    let delta = |piece| with_logprobs(event("response.output_text.delta", "delta", json!(piece)));
    let mut events = vec![event("response.content_part.added", "part", part(""))];
    events.extend(pieces.iter().map(delta));
    events.extend([
        with_logprobs(event("response.output_text.done", "text", json!(text))),
        event("response.content_part.done", "part", part(text)),
    ]);
    events
}

fn call_events(call: &ToolCall, pieces: &[String]) -> Vec<Value> {
    let event = |kind: &str, field: &str, text: &str| {
        let kind = format!("response.function_call_arguments.{kind}");
        json!({"type": kind, "output_index": 0, "item_id": "fc_mock", field: text})
    };
    let mut events: Vec<_> = pieces
        .iter()
        .map(|piece| event("delta", "delta", piece))
        .collect();
    let mut done = event("done", "arguments", &call.arguments.to_string());
    done["name"] = json!(call.name);
    events.push(done);
    events
}

fn completed(call: &Call<'_>, model: &str, said: &Said) -> Value {
    let (input, output) = (call.settings.prompt_tokens, call.settings.chunks);
    let usage = json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + output,
    });
    response(model, "completed", json!([said.item()]), &usage)
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

fn function_call(call: &ToolCall, status: &str, arguments: &str) -> Value {
    json!({
        "id": "fc_mock",
        "type": "function_call",
        "status": status,
        "call_id": "call_mock",
        "name": call.name,
        "arguments": arguments,
    })
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
