//! Refusals in the description: each as it is really answered, under its status.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    body::MessageBody as _,
    http::header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::Value;
use utoipa::openapi::{
    Content, Header, ObjectBuilder, Ref, RefOr, Response,
    content::ContentBuilder,
    example::{Example, ExampleBuilder},
    header::HeaderBuilder,
    path::Operation,
    schema::{AnyOfBuilder, Schema, SchemaType},
};

use crate::error::{Dialect, GatewayError, Refusal};

/// What the body of a refusal can look like.
pub(super) struct Form {
    pub(super) dialect: Dialect,
    /// Whether a provider may answer with the same status.
    pub(super) is_relayed: bool,
}

/// Adds the responses for `refusals` to those that the operation has. A status that it has already
/// keeps its description.
pub(super) fn add(operation: &mut Operation, refusals: Vec<GatewayError>, form: &Form) {
    let mut groups = BTreeMap::<String, Vec<Refused>>::new();
    for refusal in refusals {
        let refused = Refused::new(refusal, form.dialect);
        groups.entry(refused.status()).or_default().push(refused);
    }
    for (status, group) in groups {
        let responses = &mut operation.responses.responses;
        let present = responses
            .entry(status)
            .or_insert_with(|| RefOr::T(Response::new(describe(&group))));
        if let RefOr::T(response) = present {
            complete(response, group, form);
        }
    }
}

/// A refusal and what it looks like.
struct Refused {
    code: &'static str,
    response: HttpResponse,
}

impl Refused {
    fn new(error: GatewayError, dialect: Dialect) -> Self {
        Self {
            code: error.code(),
            response: Refusal::example(error, dialect),
        }
    }

    fn status(&self) -> String {
        self.response.status().as_str().to_owned()
    }

    fn into_example(self) -> Example {
        let body = self
            .response
            .into_body()
            .try_into_bytes()
            .unwrap_or_default();
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        ExampleBuilder::new().value(body).build()
    }
}

/// `Not found: \`model_not_found\`.`
fn describe(group: &[Refused]) -> String {
    let mut codes: Vec<_> = group.iter().map(|refused| refused.code).collect();
    codes.dedup();
    let codes: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    let status = group.first().map(|refused| refused.response.status());
    let reason = status.and_then(|status| status.canonical_reason());
    format!("{}: {}.", reason.unwrap_or_default(), codes.join(", "))
}

fn complete(response: &mut Response, group: Vec<Refused>, form: &Form) {
    for refused in &group {
        response.headers.extend(headers(refused.response.headers()));
    }
    let mut examples = BTreeMap::<String, Example>::new();
    for refused in group {
        let code = refused.code.to_owned();
        examples
            .entry(code)
            .or_insert_with(|| refused.into_example());
    }
    if form.is_relayed {
        let anything = Content::default();
        response.content.insert("*/*".to_owned(), anything.into());
    }
    let content = content(examples, form);
    response
        .content
        .insert("application/json".to_owned(), content.into());
}

fn content(examples: BTreeMap<String, Example>, form: &Form) -> Content {
    let own = Ref::from_schema_name(match form.dialect {
        Dialect::OpenAi => "Error",
        Dialect::Anthropic => "AnthropicError",
    });
    let providers = ObjectBuilder::new()
        .schema_type(SchemaType::any())
        .description(Some(
            "Whatever the provider says, where it is the provider that answers so.",
        ));
    let schema: RefOr<Schema> = match form.is_relayed {
        true => AnyOfBuilder::new().item(own).item(providers).into(),
        false => own.into(),
    };
    ContentBuilder::new()
        .schema(Some(schema))
        .examples_from_iter(examples)
        .build()
}

fn headers(headers: &HeaderMap) -> impl Iterator<Item = (String, RefOr<Header>)> {
    let own = headers.iter().filter(|(name, _)| *name != CONTENT_TYPE);
    own.map(|(name, value)| {
        let example = value.to_str().unwrap_or_default();
        let header = HeaderBuilder::new().example(Some(example.into())).build();
        (name.as_str().to_owned(), RefOr::T(header))
    })
}
