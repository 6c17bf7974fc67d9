//! A request in JSON: finds `model` and `stream` in it.

use std::ops::Range;

use actix_web::web::Bytes;

use super::{
    json::{self, JsonError},
    model_request::{ModelRequest, Spelling, invalid_model, missing_model},
};
use crate::error::GatewayError;

/// Checks a body and finds in it what the gateway acts on. `default` is the model of a body that
/// names none.
pub(super) fn parse(body: Bytes, default: Option<&str>) -> Result<ModelRequest, GatewayError> {
    let text = std::str::from_utf8(&body).map_err(|_| not_json("it is not UTF-8"))?;
    let members = Members::find(text)?;
    let (model, place, spelling) = match (members.model, default) {
        (Found::Once(place), _) => {
            let model = decode_model(&text[place.clone()])?;
            (model, place, Spelling::Literal)
        }
        (Found::Never, Some(default)) => {
            let start = text.len() - text.trim_start().len() + "{".len();
            let is_only = members.is_empty;
            let spelling = Spelling::FirstMember { is_only };
            (default.to_owned(), start..start, spelling)
        }
        (Found::Never, None) => return Err(missing_model()),
        (Found::Again, _) => return Err(invalid_model("must not be given twice")),
    };
    let is_streamed = members.stream.is_some_and(|range| &text[range] == "true");
    Ok(ModelRequest {
        model,
        place,
        spelling,
        is_streamed,
        body,
    })
}

enum Found {
    Never,
    Once(Range<usize>),
    Again,
}

/// Where the values are that the gateway acts on.
struct Members {
    is_empty: bool,
    model: Found,
    /// The last one, which is the one that counts for nearly every parser.
    stream: Option<Range<usize>>,
}

impl Members {
    fn find(text: &str) -> Result<Self, GatewayError> {
        let mut members = Self {
            is_empty: true,
            model: Found::Never,
            stream: None,
        };
        json::for_each_member(text, |key, value| {
            members.is_empty = false;
            let key = &text[key];
            if is_key(key, "model") {
                members.model = match members.model {
                    Found::Never => Found::Once(value),
                    _ => Found::Again,
                };
            } else if is_key(key, "stream") {
                members.stream = Some(value);
            }
        })
        .map_err(|error| match error {
            JsonError::NotAnObject if text.trim().is_empty() => not_json("it is empty"),
            error => not_json(error),
        })?;
        Ok(members)
    }
}

/// Whether a key's literal spells `name`, with escapes or without.
fn is_key(literal: &str, name: &str) -> bool {
    let content = &literal[1..literal.len() - 1];
    content == name
        || (content.contains('\\') && json::decode_string(literal).is_some_and(|key| key == name))
}

fn decode_model(literal: &str) -> Result<String, GatewayError> {
    if !literal.starts_with('"') {
        return Err(invalid_model("must be a string"));
    }
    json::decode_string(literal)
        .ok_or_else(|| invalid_model("must be a string of whole Unicode characters"))
}

fn not_json(problem: impl std::fmt::Display) -> GatewayError {
    GatewayError::InvalidRequest {
        message: format!("The request body must be a JSON object in UTF-8: {problem}."),
        param: None,
        code: "invalid_json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: impl Into<Bytes>) -> Result<ModelRequest, GatewayError> {
        super::parse(body.into(), None)
    }

    fn rewritten(body: &'static str, provider_model: &str) -> String {
        let (body, _) = parse(body).unwrap().for_model(provider_model);
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn code_of(body: impl Into<Bytes>) -> &'static str {
        parse(body).unwrap_err().code()
    }

    #[test]
    fn only_the_value_of_the_top_level_model_is_replaced() {
        for (body, expected) in [
            (r#"{"model":"a"}"#, r#"{"model":"B"}"#),
            (r#"{"model":""}"#, r#"{"model":"B"}"#),
            (
                "\r\n{ \"z\":1.0,\t\"model\" : \"a\" ,\n\"a\":1e999 }\n",
                "\r\n{ \"z\":1.0,\t\"model\" : \"B\" ,\n\"a\":1e999 }\n",
            ),
            (
                r#"{"x":{"model":"a"},"y":[{"model":"a"}],"model":"a","z":"\"model\":\"a\""}"#,
                r#"{"x":{"model":"a"},"y":[{"model":"a"}],"model":"B","z":"\"model\":\"a\""}"#,
            ),
            (
                r#"{"n":12345678901234567890.10,"u":"\u00e9é\/","d":1,"d":2,"model":"a"}"#,
                r#"{"n":12345678901234567890.10,"u":"\u00e9é\/","d":1,"d":2,"model":"B"}"#,
            ),
            (r#"{"mod\u0065l":"a"}"#, r#"{"mod\u0065l":"B"}"#),
            (r#"{"model":"\u0061\ud83d\ude00"}"#, r#"{"model":"B"}"#),
            (
                r#"{"model":"a","x":"\ud800"}"#,
                r#"{"model":"B","x":"\ud800"}"#,
            ),
        ] {
            assert_eq!(rewritten(body, "B"), expected);
        }
    }

    #[test]
    fn a_model_that_may_be_left_out_is_written_in_front() {
        for (body, expected) in [
            ("{}", r#"{"model":"B"}"#),
            (" \n{ \t}\n", " \n{\"model\":\"B\" \t}\n"),
            (r#"{ "input" : 1e5 }"#, r#"{"model":"B", "input" : 1e5 }"#),
            (
                r#"{"x":{"model":"a"}}"#,
                r#"{"model":"B","x":{"model":"a"}}"#,
            ),
            (r#"{"x":1,"model":"a"}"#, r#"{"x":1,"model":"B"}"#),
        ] {
            let with_default = |provider_model| {
                let request = super::parse(Bytes::from_static(body.as_bytes()), Some("a")).unwrap();
                assert_eq!(request.model(), "a");
                String::from_utf8(request.for_model(provider_model).0.to_vec()).unwrap()
            };
            assert_eq!(with_default("B"), expected);
            assert_eq!(with_default("a"), body);
        }
        let null = super::parse(Bytes::from_static(br#"{"model":null}"#), Some("a"));
        assert_eq!(null.unwrap_err().code(), "invalid_model");
    }

    #[test]
    fn a_name_that_stays_keeps_its_spelling() {
        let body = r#"{"model":"\u0067pt\/4"}"#;
        assert_eq!(rewritten(body, "gpt/4"), body);
    }

    #[test]
    fn a_new_name_is_escaped_where_json_needs_it() {
        assert_eq!(
            rewritten(r#"{"model":"a"}"#, r#"q"\通/:"#),
            r#"{"model":"q\"\\通/:"}"#
        );
    }

    #[test]
    fn the_name_is_read_with_its_escapes() {
        for (body, model) in [
            (r#"{"model":"gpt-4o"}"#, "gpt-4o"),
            (r#"{"model":"\u0067pt\/4"}"#, "gpt/4"),
            (r#"{"\u006d\u006f\u0064\u0065\u006c":"a"}"#, "a"),
            (r#"{"Model":"x","model ":"y","model":"通义"}"#, "通义"),
        ] {
            assert_eq!(parse(body).unwrap().model(), model);
        }
    }

    #[test]
    fn streaming_is_asked_for_with_true_alone() {
        for (stream, is_streamed) in [
            ("true", true),
            ("false", false),
            ("null", false),
            ("1", false),
            ("\"true\"", false),
            ("[true]", false),
        ] {
            let body = format!(r#"{{"model":"a","stream":{stream}}}"#);
            assert_eq!(parse(body).unwrap().is_streamed(), is_streamed, "{stream}");
        }
        assert!(!parse(r#"{"model":"a"}"#).unwrap().is_streamed());
        assert!(
            parse(r#"{"stream":false,"str\u0065am":true,"model":"a"}"#)
                .unwrap()
                .is_streamed()
        );
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for body in [
            "",
            "  ",
            "hello",
            "[]",
            "\"a\"",
            "null",
            r#"{"model":"a"} x"#,
            r#"{"model":"a""#,
        ] {
            assert_eq!(code_of(body), "invalid_json", "{body}");
        }
        assert_eq!(code_of(&b"{\"model\":\"a\xff\"}"[..]), "invalid_json");
        assert_eq!(
            code_of(&b"{\"model\":\"a\",\"x\":\"\xed\xa0\x80\"}"[..]),
            "invalid_json"
        );
        let deep = format!(
            r#"{{"model":"a","x":{}{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        assert_eq!(code_of(deep), "invalid_json");
    }

    #[test]
    fn a_model_that_is_missing_is_told_from_one_that_is_unusable() {
        for body in [
            "{}",
            r#"{"messages":[]}"#,
            r#"{"x":{"model":"a"}}"#,
            r#"{"MODEL":"a"}"#,
        ] {
            assert_eq!(code_of(body), "missing_model", "{body}");
        }
        for body in [
            r#"{"model":null}"#,
            r#"{"model":1}"#,
            r#"{"model":["a"]}"#,
            r#"{"model":{"a":"b"}}"#,
            r#"{"model":"a","model":"a"}"#,
            r#"{"model":"a","x":1,"\u006dodel":"b"}"#,
            r#"{"model":"\ud800"}"#,
            r#"{"model":"\udc00\ud800"}"#,
        ] {
            assert_eq!(code_of(body), "invalid_model", "{body}");
        }
    }

    #[test]
    fn a_refusal_never_repeats_the_body() {
        let refusal = parse(r#"{"model":"a","secret":"hunter2","x":hunter2}"#).unwrap_err();
        assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    }
}
