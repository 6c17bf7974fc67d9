//! `POST /v1/moderations`: nothing is ever flagged.

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::endpoints::Call;
use crate::error::MockError;

const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// Answers with a result for each text.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let input = call.field("input")?;
    let count = match input.as_array() {
        Some(texts) if texts.iter().all(Value::is_string) => texts.len(),
        _ => 1,
    };
    let all = |value: Value| -> Map<String, Value> {
        let name = |name: &&str| ((*name).to_owned(), value.clone());
        CATEGORIES.iter().map(name).collect()
    };
    let result = json!({
        "flagged": false,
        "categories": all(json!(false)),
        "category_scores": all(json!(0.0001)),
        "category_applied_input_types": all(json!(["text"])),
    });
    // What is left out is the provider's to fill in.
    let model = call
        .request
        .model
        .as_deref()
        .unwrap_or("omni-moderation-latest");
    Ok(Answer::json(&json!({
        "id": "modr-mock",
        "model": model,
        "results": vec![result; count],
    })))
}
