//! `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's API.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{Answer, Events, named};
use crate::chat::filler;
use crate::endpoints::Call;
use crate::error::MockError;
use crate::tools::{self, ToolCall};

/// Everything under it is Anthropic's.
pub(crate) const PATH: &str = "/v1/messages";

/// Answers with text or a tool call.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let model = call.model()?;
    call.field("messages")?;
    call.field("max_tokens")?;
    let tool_call = tools::forced_call(call.request)?;
    Ok(match call.request.is_streamed() {
        true => streamed(call, model, tool_call.as_ref()),
        false => whole(call, model, tool_call.as_ref()),
    })
}

fn whole(call: &Call<'_>, model: &str, tool_call: Option<&ToolCall>) -> Answer {
    let settings = call.settings;
    let content = match tool_call {
        Some(tool_call) => tool_use(tool_call, &tool_call.arguments),
        None => json!({"type": "text", "text": filler(settings.whole_text_bytes())}),
    };
    let usage = usage(settings.prompt_tokens, settings.chunks);
    let stop = Some(stop_reason(tool_call));
    Answer::json(&message(model, json!([content]), stop, &usage))
}

fn streamed(call: &Call<'_>, model: &str, tool_call: Option<&ToolCall>) -> Answer {
    let settings = call.settings;
    let usage = usage(settings.prompt_tokens, 1);
    let begun = message(model, json!([]), None, &usage);
    let block = match tool_call {
        Some(tool_call) => tool_use(tool_call, &json!({})),
        None => json!({"type": "text", "text": ""}),
    };
    let mut opening = vec![
        named(&json!({"type": "message_start", "message": begun})),
        named(&json!({"type": "content_block_start", "index": 0, "content_block": block})),
        named(&json!({"type": "ping"})),
    ];
    let pieces = tool_call.map(|tool_call| tools::pieces(&tool_call.arguments.to_string()));
    let pieces = pieces.unwrap_or_default().into_iter();
    opening.extend(
        pieces.map(|piece| delta(&json!({"type": "input_json_delta", "partial_json": piece}))),
    );
    let text = json!({"type": "text_delta", "text": filler(settings.chunk_bytes)});
    Answer::Stream(Events {
        opening,
        repeated: delta(&text),
        times: if tool_call.is_some() {
            0
        } else {
            settings.chunks
        },
        closing: vec![
            named(&json!({"type": "content_block_stop", "index": 0})),
            named(&json!({
                "type": "message_delta",
                "delta": {"stop_reason": stop_reason(tool_call), "stop_sequence": null},
                "usage": {"output_tokens": settings.chunks},
            })),
            named(&json!({"type": "message_stop"})),
        ],
    })
}

fn delta(delta: &Value) -> Bytes {
    named(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
}

fn tool_use(call: &ToolCall, input: &Value) -> Value {
    json!({"type": "tool_use", "id": "toolu_mock", "name": call.name, "input": input})
}

fn stop_reason(tool_call: Option<&ToolCall>) -> &'static str {
    match tool_call {
        Some(_) => "tool_use",
        None => "end_turn",
    }
}

/// Answers with what `--prompt-tokens` says.
pub(crate) fn count_tokens(call: &Call<'_>) -> Result<Answer, MockError> {
    call.model()?;
    call.field("messages")?;
    let tokens = call.settings.prompt_tokens;
    Ok(Answer::json(&json!({"input_tokens": tokens})))
}

fn message(model: &str, content: Value, stop: Option<&str>, usage: &Value) -> Value {
    json!({
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn usage(input: usize, output: usize) -> Value {
    json!({
        "input_tokens": input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
    })
}
