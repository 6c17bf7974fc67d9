//! `POST /v1/audio/…`: bytes for a text, and a text for bytes.

use bytes::Bytes;
use serde_json::json;

use crate::answer::Answer;
use crate::chat::filler;
use crate::endpoints::Call;
use crate::error::MockError;

/// Answers a text with bytes of every value. Nobody should listen to them.
pub(crate) fn speak(call: &Call<'_>) -> Result<Answer, MockError> {
    call.model()?;
    call.field("input")?;
    call.field("voice")?;
    let media_type = match call.json()?["response_format"].as_str() {
        None | Some("mp3") => "audio/mpeg",
        Some("opus") => "audio/opus",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        Some("pcm") => "audio/pcm",
        Some(_) => return Err(MockError::bad_request("Unknown 'response_format'.")),
    };
    let bytes: Bytes = (0..=255_u8)
        .cycle()
        .take(call.settings.whole_text_bytes())
        .collect();
    Ok(Answer::Other(media_type, bytes))
}

/// Answers an upload with a text; `mock` says what came.
pub(crate) fn transcribe(call: &Call<'_>) -> Result<Answer, MockError> {
    let form = call.form()?;
    call.model()?;
    if !form.has("file") {
        return Err(MockError::missing("file"));
    }
    let text = filler(call.settings.whole_text_bytes());
    Ok(match form.text("response_format") {
        Some("text" | "srt" | "vtt") => Answer::Other("text/plain; charset=utf-8", text.into()),
        _ => Answer::json(&json!({
            "text": text,
            "task": "transcribe",
            "language": "english",
            "duration": 1.0,
            "mock": form.description(),
        })),
    })
}
