//! What values of the domain look like in JSON. They say as much of the rules as patterns can; the
//! rest is in their descriptions.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, SchemaFormat, Type,
        schema::{AdditionalProperties, Schema, SchemaType},
    },
};

use crate::domain::{BaseUrl, FixedHeaders, Name, ProviderKind, Secret, Timeouts};

/// No control characters, and not blanks alone.
const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";
/// Neither credentials nor a query nor a fragment.
const BASE_URL: &str = r"^https?://[^\s/?#@\\]+(/[^\s?#\\]*)?$";
/// As in RFC 9110, section 5.6.2.
const HEADER_NAME: &str = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
/// Visible ASCII, and blanks within.
const HEADER_VALUE: &str = r"^[ \t]*[!-~]([ -~]*[!-~])?[ \t]*$";
/// Visible ASCII, or nothing.
const SECRET: &str = r"^[!-~]*$";
const DURATION: &str = r"^0*[1-9][0-9]*(ms|s|m|h)?$";

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A string that is a UUID.
pub(super) fn uuid() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}

impl PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        text()
            .description(Some(
                "A name: 1 to 255 characters after trimming, no control characters. Those of providers and \
                 of models are unique.",
            ))
            .min_length(Some(1))
            .max_length(Some(Self::MAX_CHARACTERS))
            .pattern(Some(NAME))
            .into()
    }
}

impl ToSchema for Name {}

impl PartialSchema for ProviderKind {
    fn schema() -> RefOr<Schema> {
        text()
            .description(Some(
                "What a provider speaks; `GET /admin/provider-kinds` says what each decides.",
            ))
            .enum_values(Some(Self::all().map(Self::as_str)))
            .into()
    }
}

impl ToSchema for ProviderKind {}

impl PartialSchema for Secret {
    fn schema() -> RefOr<Schema> {
        text()
            .description(Some(
                "The key that the provider issued: visible ASCII. No answer shows it again.",
            ))
            .max_length(Some(Self::MAX_HEADER_LENGTH))
            .pattern(Some(SECRET))
            .write_only(true)
            .into()
    }
}

impl ToSchema for Secret {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProviderApiKey")
    }
}

impl PartialSchema for BaseUrl {
    fn schema() -> RefOr<Schema> {
        text()
            .description(Some(
                "Where the provider serves its API: `http` or `https`, a host, perhaps a port and a path; no \
                 credentials, no query.",
            ))
            .format(Some(SchemaFormat::Custom("uri".to_owned())))
            .pattern(Some(BASE_URL))
            .into()
    }
}

impl ToSchema for BaseUrl {}

impl PartialSchema for FixedHeaders {
    fn schema() -> RefOr<Schema> {
        let value: RefOr<Schema> = text().pattern(Some(HEADER_VALUE)).into();
        ObjectBuilder::new()
            .description(Some(
                "Headers that each request to the provider carries besides, 8 KiB at most. Not those of one \
                 connection, of the body, or that carry keys.",
            ))
            .property_names(Some(Schema::from(text().pattern(Some(HEADER_NAME)).build())))
            .additional_properties(Some(AdditionalProperties::RefOr(value)))
            .max_properties(Some(Self::MAX_HEADERS))
            .into()
    }
}

impl ToSchema for FixedHeaders {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProviderHeaders")
    }
}

impl PartialSchema for Timeouts {
    fn schema() -> RefOr<Schema> {
        let limit = |description: &str| {
            text()
                .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
                .description(Some(description))
                .pattern(Some(DURATION))
        };
        ObjectBuilder::new()
            .description(Some(
                "How long the provider may take, where that differs from the settings: `100ms`, `10s`, `15m`, \
                 `2h`; more than nothing and 24 h at most.",
            ))
            .property("connect", limit("Name, TCP and TLS together."))
            .property("response", limit("From the request to the response's head."))
            .property("idle", limit("Between two pieces of a response's body."))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .into()
    }
}

impl ToSchema for Timeouts {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProviderTimeouts")
    }
}
