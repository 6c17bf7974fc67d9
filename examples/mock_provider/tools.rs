//! Tool calls: when `tool_choice` forces one, the function that it names, or the first, is called
//! with arguments that fit the shape of its parameters. Chat, responses and Anthropic's messages
//! differ little in how they ask, so one reader does for all three.

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
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

impl ToolCall {
    /// The call as it stands in a whole message.
    pub(crate) fn whole(&self) -> Value {
        json!({
            "id": "call_mock",
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments.to_string()},
        })
    }

    /// The call as deltas: the name first, then the arguments piece by piece.
    pub(crate) fn deltas(&self) -> Vec<Value> {
        let mut head = self.whole();
        head["index"] = json!(0);
        head["function"]["arguments"] = json!("");
        let opening = json!({"role": "assistant", "content": null, "tool_calls": [head]});
        let pieces = pieces(&self.arguments.to_string())
            .into_iter()
            .map(|piece| json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}));
        std::iter::once(opening).chain(pieces).collect()
    }
}

/// JSON as it is streamed, piece by piece.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(PIECE).map(String::from_iter).collect()
}

/// The call that the request forces, if it forces one.
pub(crate) fn forced_call(request: &Request<'_>) -> Result<Option<ToolCall>, MockError> {
    let (Some(tools), Some(choice)) = (request.tools, request.tool_choice) else {
        return Ok(None);
    };
    let choice = read(choice, "tool_choice")?;
    let named = choice.pointer("/function/name").or(choice.get("name"));
    let wanted = match named {
        Some(name) => Some(name.clone()),
        None if choice == "required" || choice["type"] == "any" => None,
        None => return Ok(None),
    };
    let tools = read(tools, "tools")?;
    let function = tools
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| tool.get("function").unwrap_or(tool))
        .filter(|function| function.get("name").is_some())
        .find(|function| wanted.is_none() || function.get("name") == wanted.as_ref())
        .ok_or_else(|| {
            MockError::bad_request("Tool choice does not name a function of 'tools'.")
        })?;
    let schema = function.get("parameters").or(function.get("input_schema"));
    Ok(Some(ToolCall {
        name: function["name"].as_str().unwrap_or_default().to_owned(),
        arguments: example(schema.unwrap_or(&Value::Null), 0),
    }))
}

/// JSON of the shape that a `json_schema` format describes.
pub(crate) fn structured(format: &Value) -> Option<String> {
    match format["type"].as_str()? {
        // Chat wraps the schema once more than responses do.
        "json_schema" => {
            let schema = format.pointer("/json_schema/schema");
            let schema = schema.or(format.get("schema")).unwrap_or(&Value::Null);
            Some(example(schema, 0).to_string())
        }
        "json_object" => Some("{}".to_owned()),
        _ => None,
    }
}

/// The field's JSON.
pub(crate) fn read(raw: &RawValue, field: &str) -> Result<Value, MockError> {
    serde_json::from_str(raw.get())
        .map_err(|problem| MockError::bad_request(format!("'{field}': {problem}")))
}

/// A value of the shape that a JSON schema describes.
fn example(schema: &Value, depth: usize) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    // What may be left out is `null` or something; the something comes first.
    if let Some(first) = schema["anyOf"].get(0) {
        return example(first, depth + 1);
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
        assert_eq!(call.arguments, json!({"city": "mock", "unit": "celsius"}));
    }

    #[test]
    fn required_takes_the_first_and_auto_none() {
        assert_eq!(call(r#""required""#).unwrap().name, "first");
        assert!(call(r#""auto""#).is_none());
    }

    #[test]
    fn the_three_apis_ask_alike() {
        for (tool, choice) in [
            (
                r#"{"type": "function", "function": {"name": "f", "parameters": {"type": "integer"}}}"#,
                r#"{"type": "function", "function": {"name": "f"}}"#,
            ),
            (
                r#"{"type": "function", "name": "f", "parameters": {"type": "integer"}}"#,
                r#"{"type": "function", "name": "f"}"#,
            ),
            (
                r#"{"name": "f", "input_schema": {"type": "integer"}}"#,
                r#"{"type": "any"}"#,
            ),
            (
                r#"{"name": "f", "input_schema": {"type": "integer"}}"#,
                r#"{"type": "tool", "name": "f"}"#,
            ),
        ] {
            let body = format!(r#"{{"tool_choice": {choice}, "tools": [{tool}]}}"#);
            let request = Request::parse(body.as_bytes()).unwrap();
            let call = forced_call(&request).unwrap().unwrap();
            assert_eq!((call.name.as_str(), call.arguments), ("f", json!(1)));
        }
    }

    #[test]
    fn structured_output_has_the_shape_of_its_schema() {
        let schema = json!({"type": "object", "properties": {
            "name": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "age": {"type": "integer"}}});
        for format in [
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}),
            json!({"type": "json_schema", "name": "x", "schema": schema}),
        ] {
            let text = structured(&format).unwrap();
            let expected = json!({"name": "mock", "age": 1});
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        }
        assert_eq!(structured(&json!({"type": "text"})), None);
    }

    #[test]
    fn streamed_pieces_join_to_the_arguments() {
        let call = call(r#"{"type": "function", "function": {"name": "weather"}}"#).unwrap();
        let joined: String = call
            .deltas()
            .iter()
            .filter_map(|delta| delta["tool_calls"][0]["function"]["arguments"].as_str())
            .collect();
        assert_eq!(joined, call.arguments.to_string());
    }
}
