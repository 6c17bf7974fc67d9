//! `POST /v1/embeddings`: vectors that depend on nothing but the place of their input.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::endpoints::Call;
use crate::error::MockError;

/// More than any model has.
const MOST_DIMENSIONS: u64 = 1 << 16;

/// Answers with a vector for each input.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let model = call.model()?;
    let count = count_of(&call.field("input")?);
    let json = call.json()?;
    let dimensions = json["dimensions"]
        .as_u64()
        .unwrap_or(8)
        .min(MOST_DIMENSIONS);
    let in_base64 = json["encoding_format"] == "base64";
    let data: Vec<_> = (0..count)
        .map(|index| {
            let vector = vector(index, dimensions);
            let embedding = if in_base64 {
                in_words(&vector)
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let tokens = call.settings.prompt_tokens;
    Ok(Answer::json(&json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })))
}

/// One text, several texts, the tokens of one text, or those of several.
fn count_of(input: &Value) -> usize {
    match input.as_array() {
        Some(inputs) if !inputs.iter().all(Value::is_number) => inputs.len(),
        _ => 1,
    }
}

fn vector(index: usize, dimensions: u64) -> Vec<f32> {
    let seed = u16::try_from(index % 1000).unwrap_or_default();
    let value = |place: u64| {
        let place = u16::try_from(place % 100).unwrap_or_default();
        f32::from(place) / 128.0 - f32::from(seed) / 1024.0
    };
    (0..dimensions).map(value).collect()
}

/// Little-endian floats, as SDKs ask for them.
fn in_words(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    Value::from(BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_counted_in_all_their_forms() {
        for (input, count) in [
            (json!("text"), 1),
            (json!(["a", "b"]), 2),
            (json!([1, 2, 3]), 1),
            (json!([[1], [2, 3]]), 2),
        ] {
            assert_eq!(count_of(&input), count, "{input}");
        }
    }
}
