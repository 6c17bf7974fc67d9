//! `POST /v1/chat/completions`: text, JSON or a tool call, whole or streamed. Text answers are built
//! once for each model and shape and then handed out as shared bytes, because benches ask for the
//! same one again and again.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{Answer, Events};
use crate::endpoints::{Call, Request};
use crate::error::MockError;
use crate::settings::Settings;
use crate::tools::{self, ToolCall};

/// The time that every answer names. Fixed, so that equal requests get equal bytes.
pub(crate) const CREATED: u64 = 1_700_000_000;

/// Answers kept by each worker; beyond that all are dropped, since only benches need them.
const MOST_KEPT: usize = 64;

/// What the text is made of.
const FILLER: &str = "All work and no play makes a dull gateway. ";

/// Everything about a text answer but the model's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    streamed: bool,
    with_usage: bool,
    chunks: usize,
    chunk_bytes: usize,
    whole_bytes: usize,
    prompt_tokens: usize,
}

impl Shape {
    fn of(request: &Request<'_>, settings: &Settings) -> Self {
        Self {
            streamed: request.is_streamed(),
            with_usage: request.wants_usage(),
            chunks: settings.chunks,
            chunk_bytes: settings.chunk_bytes,
            whole_bytes: settings.whole_text_bytes(),
            prompt_tokens: settings.prompt_tokens,
        }
    }

    fn usage(&self) -> Value {
        usage(self.prompt_tokens, self.chunks)
    }
}

/// The text answers that were built already.
#[derive(Default)]
pub(crate) struct TextAnswers {
    by_model: HashMap<String, HashMap<Shape, Answer>>,
    kept: usize,
}

impl TextAnswers {
    fn get(&mut self, model: &str, shape: Shape) -> Answer {
        let known = self.by_model.get(model).and_then(|some| some.get(&shape));
        match known {
            Some(answer) => answer.clone(),
            None => self.build(model, shape),
        }
    }

    fn build(&mut self, model: &str, shape: Shape) -> Answer {
        if self.kept == MOST_KEPT {
            *self = Self::default();
        }
        self.kept += 1;
        let answer = text_answer(model, shape);
        self.by_model
            .entry(model.to_owned())
            .or_default()
            .insert(shape, answer.clone());
        answer
    }
}

/// Answers a chat request.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let request = call.request;
    let model = request
        .model
        .as_deref()
        .ok_or_else(|| MockError::missing("model"))?;
    if request.messages.is_none() {
        return Err(MockError::missing("messages"));
    }
    let shape = Shape::of(request, call.settings);
    if let Some(tool_call) = tools::forced_call(request)? {
        return Ok(tool_answer(model, shape, &tool_call));
    }
    if let Some(format) = request.response_format {
        let format = tools::read(format, "response_format")?;
        if let Some(json) = tools::structured(&format) {
            return Ok(json_answer(model, shape, &json));
        }
    }
    Ok(call.mock.texts.borrow_mut().get(model, shape))
}

fn text_answer(model: &str, shape: Shape) -> Answer {
    if !shape.streamed {
        let message =
            json!({"role": "assistant", "content": filler(shape.whole_bytes), "refusal": null});
        return Answer::Whole(completion(model, &message, "stop", &shape.usage()));
    }
    let chunk = |delta, finish| chunk(model, shape.with_usage, &delta, finish);
    Answer::Stream(Events {
        opening: vec![chunk(json!({"role": "assistant", "content": ""}), None)],
        repeated: chunk(json!({"content": filler(shape.chunk_bytes)}), None),
        times: shape.chunks,
        closing: closing(model, shape, "stop"),
    })
}

fn tool_answer(model: &str, shape: Shape, call: &ToolCall) -> Answer {
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call.whole()]});
    answer_of(model, shape, &message, &call.deltas(), "tool_calls")
}

fn json_answer(model: &str, shape: Shape, json: &str) -> Answer {
    let message = json!({"role": "assistant", "content": json, "refusal": null});
    let opening = json!({"role": "assistant", "content": "", "refusal": null});
    let pieces = tools::pieces(json).into_iter();
    let pieces = pieces.map(|piece| json!({"content": piece}));
    let deltas: Vec<_> = std::iter::once(opening).chain(pieces).collect();
    answer_of(model, shape, &message, &deltas, "stop")
}

/// A message, or the deltas that make it up.
fn answer_of(model: &str, shape: Shape, message: &Value, deltas: &[Value], finish: &str) -> Answer {
    if !shape.streamed {
        return Answer::Whole(completion(model, message, finish, &shape.usage()));
    }
    let opening = deltas
        .iter()
        .map(|delta| chunk(model, shape.with_usage, delta, None))
        .collect();
    Answer::Stream(Events {
        opening,
        repeated: Bytes::new(),
        times: 0,
        closing: closing(model, shape, finish),
    })
}

fn closing(model: &str, shape: Shape, finish: &str) -> Vec<Bytes> {
    let mut events = vec![chunk(model, shape.with_usage, &json!({}), Some(finish))];
    if shape.with_usage {
        let mut last = chunk_head(model);
        last["choices"] = json!([]);
        last["usage"] = shape.usage();
        events.push(event(&last));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn completion(model: &str, message: &Value, finish: &str, usage: &Value) -> Bytes {
    let body = json!({
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": usage,
    });
    Bytes::from(body.to_string())
}

fn chunk(model: &str, with_usage: bool, delta: &Value, finish: Option<&str>) -> Bytes {
    let mut chunk = chunk_head(model);
    chunk["choices"] =
        json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    if with_usage {
        // As OpenAI does: null in every chunk but the last.
        chunk["usage"] = Value::Null;
    }
    event(&chunk)
}

fn chunk_head(model: &str) -> Value {
    json!({
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
    })
}

/// An event without a name.
pub(crate) fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// What was read and written.
pub(crate) fn usage(prompt: usize, completion: usize) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

/// Text of this length.
pub(crate) fn filler(bytes: usize) -> String {
    FILLER.repeat(bytes / FILLER.len()) + &FILLER[..bytes % FILLER.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        streamed: true,
        with_usage: true,
        chunks: 3,
        chunk_bytes: 50,
        whole_bytes: 150,
        prompt_tokens: 12,
    };

    #[test]
    fn text_has_the_length_asked_for() {
        for length in [0, 1, FILLER.len(), 1000] {
            assert_eq!(filler(length).len(), length);
        }
    }

    #[test]
    fn a_models_name_is_escaped() {
        let Answer::Stream(events) = text_answer("a\"b\\c", SHAPE) else {
            panic!("not a stream");
        };
        let data = events.opening[0].strip_prefix(b"data: ").unwrap();
        let chunk: Value = serde_json::from_slice(data).unwrap();
        assert_eq!(chunk["model"], "a\"b\\c");
    }

    #[test]
    fn usage_comes_last_and_only_when_asked_for() {
        let with = closing("mock", SHAPE, "stop");
        assert_eq!(with.len(), 3);
        assert!(with[1].starts_with(b"data: ") && with[2].starts_with(b"data: [DONE]"));
        let without = Shape {
            with_usage: false,
            ..SHAPE
        };
        assert_eq!(closing("mock", without, "stop").len(), 2);
    }

    #[test]
    fn kept_answers_are_bounded() {
        let mut texts = TextAnswers::default();
        for number in 0..1000 {
            texts.get(&format!("model-{number}"), SHAPE);
        }
        assert!(texts.kept <= MOST_KEPT && texts.by_model.len() <= MOST_KEPT);
    }
}
