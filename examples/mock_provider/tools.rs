//! Tool calls: when `tool_choice` forces one, the function that it names, or the first, is called
//! with arguments that fit the shape of its parameters.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::endpoints::Request;
use crate::error::MockError;

/// Arguments are streamed in pieces of this many characters, so that clients have to join them.
const PIECE: usize = 5;

/// How deep example arguments follow a schema.
const DEEPEST: usize = 8;

/// The call that an answer makes.
pub(crate) struct ToolCall {
    name: String,
    arguments: String,
}

impl ToolCall {
    /// The call as it stands in a whole message.
    pub(crate) fn whole(&self) -> Value {
        json!({
            "id": "call_mock",
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        })
    }

    /// The call as deltas: the name first, then the arguments piece by piece.
    pub(crate) fn deltas(&self) -> Vec<Value> {
        let mut head = self.whole();
        head["index"] = json!(0);
        head["function"]["arguments"] = json!("");
        let opening = json!({"role": "assistant", "content": null, "tool_calls": [head]});
        let characters: Vec<char> = self.arguments.chars().collect();
        let pieces = characters.chunks(PIECE).map(|piece| {
            let piece: String = piece.iter().collect();
            json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        });
        std::iter::once(opening).chain(pieces).collect()
    }
}

/// The call that the request forces, if it forces one.
pub(crate) fn forced_call(request: &Request<'_>) -> Result<Option<ToolCall>, MockError> {
    let (Some(tools), Some(choice)) = (request.tools, request.tool_choice) else {
        return Ok(None);
    };
    let choice = read(choice, "tool_choice")?;
    let wanted = match (&choice, choice.pointer("/function/name")) {
        (_, Some(name)) => Some(name.clone()),
        (Value::String(word), _) if word == "required" => None,
        _ => return Ok(None),
    };
    let tools = read(tools, "tools")?;
    let function = tools
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.get("function"))
        .find(|function| wanted.is_none() || function.get("name") == wanted.as_ref())
        .ok_or_else(|| {
            MockError::bad_request("Tool choice does not name a function of 'tools'.")
        })?;
    Ok(Some(ToolCall {
        name: function["name"].as_str().unwrap_or_default().to_owned(),
        arguments: example(&function["parameters"], 0).to_string(),
    }))
}

fn read(raw: &RawValue, field: &str) -> Result<Value, MockError> {
    serde_json::from_str(raw.get())
        .map_err(|problem| MockError::bad_request(format!("'{field}': {problem}")))
}

/// A value of the shape that a JSON schema describes.
fn example(schema: &Value, depth: usize) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!("mock"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("null") => Value::Null,
        _ => example_object(schema, depth),
    }
}

fn example_object(schema: &Value, depth: usize) -> Value {
    if depth == DEEPEST {
        return json!({});
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, inner)| (name.clone(), example(inner, depth + 1)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(choice: &str) -> Option<ToolCall> {
        let body = format!(
            r#"{{"tool_choice": {choice}, "tools": [
                {{"type": "function", "function": {{"name": "first"}}}},
                {{"type": "function", "function": {{"name": "weather", "parameters": {{
                    "type": "object", "properties": {{
                        "city": {{"type": "string"}}, "unit": {{"enum": ["celsius"]}}}}}}}}}}]}}"#
        );
        let request = Request::parse(body.as_bytes()).unwrap();
        forced_call(&request).unwrap()
    }

    #[test]
    fn a_named_function_is_called_with_fitting_arguments() {
        let call = call(r#"{"type": "function", "function": {"name": "weather"}}"#).unwrap();
        assert_eq!(call.name, "weather");
        assert_eq!(call.arguments, r#"{"city":"mock","unit":"celsius"}"#);
    }

    #[test]
    fn required_takes_the_first_and_auto_none() {
        assert_eq!(call(r#""required""#).unwrap().name, "first");
        assert!(call(r#""auto""#).is_none());
    }

    #[test]
    fn streamed_pieces_join_to_the_arguments() {
        let call = call(r#"{"type": "function", "function": {"name": "weather"}}"#).unwrap();
        let joined: String = call
            .deltas()
            .iter()
            .filter_map(|delta| delta["tool_calls"][0]["function"]["arguments"].as_str())
            .collect();
        assert_eq!(joined, call.arguments);
    }
}
