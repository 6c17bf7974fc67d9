//! `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's API.

use serde_json::{Value, json};

use crate::answer::{Answer, Events, named};
use crate::chat::filler;
use crate::endpoints::Call;
use crate::error::MockError;

/// Everything under it is refused in Anthropic's words.
pub(crate) const PATH: &str = "/v1/messages";

/// Answers with text.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let model = call.model()?;
    call.field("messages")?;
    call.field("max_tokens")?;
    let settings = call.settings;
    let (input, output) = (settings.prompt_tokens, settings.chunks);
    if !call.request.is_streamed() {
        let content = json!([{"type": "text", "text": filler(settings.whole_text_bytes())}]);
        return Ok(Answer::json(&message(
            model,
            content,
            Some("end_turn"),
            &usage(input, output),
        )));
    }
    let begun = message(model, json!([]), None, &usage(input, 1));
    let delta = json!({"type": "text_delta", "text": filler(settings.chunk_bytes)});
    Ok(Answer::Stream(Events {
        opening: vec![
            named(&json!({"type": "message_start", "message": begun})),
            named(&json!({
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            })),
            named(&json!({"type": "ping"})),
        ],
        repeated: named(&json!({"type": "content_block_delta", "index": 0, "delta": delta})),
        times: settings.chunks,
        closing: vec![
            named(&json!({"type": "content_block_stop", "index": 0})),
            named(&json!({
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                "usage": {"output_tokens": output},
            })),
            named(&json!({"type": "message_stop"})),
        ],
    }))
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
