//! `POST /v1/images/…`: one pixel.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::chat::CREATED;
use crate::endpoints::Call;
use crate::error::MockError;

/// A PNG of one transparent pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
/// As OpenAI.
const MOST: u64 = 10;

/// Answers a prompt.
pub(crate) fn generate(call: &Call<'_>) -> Result<Answer, MockError> {
    call.model()?;
    call.field("prompt")?;
    let json = call.json()?;
    let count = json["n"].as_u64().unwrap_or(1);
    let as_address = json["response_format"] == "url";
    Ok(Answer::json(&images(count, as_address)))
}

/// Answers an upload; `mock` says what came.
pub(crate) fn edit(call: &Call<'_>) -> Result<Answer, MockError> {
    let form = call.form()?;
    call.model()?;
    let count = form.text("n").and_then(|count| count.parse().ok());
    let as_address = form.text("response_format") == Some("url");
    let mut body = images(count.unwrap_or(1), as_address);
    body["mock"] = form.description();
    Ok(Answer::json(&body))
}

fn images(count: u64, as_address: bool) -> Value {
    let image = match as_address {
        true => json!({"url": format!("data:image/png;base64,{PIXEL}")}),
        false => json!({"b64_json": PIXEL}),
    };
    let count = usize::try_from(count.min(MOST)).unwrap_or_default();
    json!({"created": CREATED, "data": vec![image; count]})
}
