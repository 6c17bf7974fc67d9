//! `POST /v1/rerank`, in the form of Cohere and Jina: the longest document is the most relevant.

use std::cmp::Reverse;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::endpoints::Call;
use crate::error::MockError;

/// Answers with the order of the documents.
pub(crate) fn answer(call: &Call<'_>) -> Result<Answer, MockError> {
    let model = call.model()?;
    call.field("query")?;
    let documents = call.field("documents")?;
    let json = call.json()?;
    let texts: Vec<&str> = documents
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| Reverse(texts[index].len()));
    let top = json["top_n"]
        .as_u64()
        .and_then(|top| usize::try_from(top).ok());
    order.truncate(top.unwrap_or(texts.len()));
    let shows_documents = json["return_documents"] == true;
    let results: Vec<_> = order
        .iter()
        .enumerate()
        .map(|(rank, &index)| {
            let rank = u32::try_from(rank).unwrap_or(u32::MAX);
            let score = 1.0 / (1.0 + f64::from(rank));
            let mut result = json!({"index": index, "relevance_score": score});
            if shows_documents {
                result["document"] = json!({"text": texts[index]});
            }
            result
        })
        .collect();
    Ok(Answer::json(&json!({
        "id": "rerank-mock",
        "model": model,
        "results": results,
        "usage": {"total_tokens": call.settings.prompt_tokens},
    })))
}

/// A document is a text, or has one.
fn text(document: &Value) -> &str {
    let inner = document.as_str().or_else(|| document["text"].as_str());
    inner.unwrap_or_default()
}
