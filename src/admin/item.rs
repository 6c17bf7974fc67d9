//! What providers, models and user keys have in common here: an id, in paths and in lists.

use std::{
    future::{Ready, ready},
    marker::PhantomData,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;
use utoipa::{
    IntoParams,
    openapi::{
        KnownFormat, ObjectBuilder, Required, SchemaFormat, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};
use uuid::Uuid;

use crate::{
    domain::{AuditEntry, Model, Provider, UserKey},
    error::GatewayError,
};

/// Something with an id.
pub(super) trait Item {
    /// How messages call it.
    const KIND: &'static str;

    fn id(&self) -> Uuid;
}

impl Item for Provider {
    const KIND: &'static str = "provider";

    fn id(&self) -> Uuid {
        self.id
    }
}

impl Item for Model {
    const KIND: &'static str = "model";

    fn id(&self) -> Uuid {
        self.id
    }
}

impl Item for AuditEntry {
    const KIND: &'static str = "audit entry";

    fn id(&self) -> Uuid {
        self.id
    }
}

impl Item for UserKey {
    const KIND: &'static str = "key";

    fn id(&self) -> Uuid {
        self.id
    }
}

/// `{id}` of a path, for an item of kind `T`. What isn't an id names nothing: 404.
pub(super) struct Id<T> {
    pub(super) value: Uuid,
    kind: PhantomData<T>,
}

impl<T: Item> Id<T> {
    /// The item that storage has under this id, or the 404.
    pub(super) fn found(&self, item: Option<T>) -> Result<T, GatewayError> {
        item.ok_or_else(|| unknown::<T>(Some(self.value)))
    }

    /// The 404 where storage had nothing to delete.
    pub(super) fn existed(&self, existed: bool) -> Result<(), GatewayError> {
        existed
            .then_some(())
            .ok_or_else(|| unknown::<T>(Some(self.value)))
    }
}

impl<T: Item> FromRequest for Id<T> {
    type Error = GatewayError;
    type Future = Ready<Result<Self, GatewayError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = parse_id(request.match_info().query("id")).map(|value| Self {
            value,
            kind: PhantomData,
        });
        ready(id.ok_or_else(|| unknown::<T>(None)))
    }
}

impl<T: Item> IntoParams for Id<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let uuid = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(format!("The {}'s id.", T::KIND)))
            .schema(Some(uuid));
        vec![id.build()]
    }
}

fn unknown<T: Item>(id: Option<Uuid>) -> GatewayError {
    GatewayError::UnknownId { kind: T::KIND, id }
}

/// Reads an id in the form in which answers show it: with hyphens and nothing around it.
pub(super) fn parse_id(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH)
        .then(|| Uuid::try_parse(text).ok())
        .flatten()
}

/// Writes a time in RFC 3339 and UTC, always to the microsecond, which is what databases keep: so
/// times sort as texts.
pub(super) fn utc<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_hyphens_and_nothing_around_it() {
        let id = Uuid::now_v7();
        assert_eq!(parse_id(&id.to_string()), Some(id));
        assert_eq!(parse_id(&id.to_string().to_uppercase()), Some(id));
        for other in [
            id.simple().to_string(),
            id.braced().to_string(),
            id.urn().to_string(),
            format!("sk-{id}"),
            String::new(),
        ] {
            assert_eq!(parse_id(&other), None, "{other}");
        }
    }
}
