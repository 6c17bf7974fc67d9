//! Lists, a page at a time: `?limit=&after=` in, an array and the next page's address out.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, http::header};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::{
    IntoParams,
    openapi::{
        KnownFormat, ObjectBuilder, SchemaFormat, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};
use uuid::Uuid;

use super::item::{Item, parse_id};
use crate::{error::GatewayError, storage::Page};

/// As many items as fit into an answer of a few hundred KiB.
const MAX_LIMIT: u32 = 1000;

/// The page of a list that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageQuery {
    path: String,
    after: Option<Uuid>,
    limit: u32,
}

impl PageQuery {
    /// What to ask storage for: one item more than the page has, to know whether another page
    /// follows.
    pub(super) fn wanted(&self) -> Page {
        Page {
            after: self.after,
            limit: self.limit + 1,
        }
    }

    /// The page as an array, with the address of the next page where there is one.
    pub(super) fn answer<T, V>(&self, mut items: Vec<T>) -> HttpResponse
    where
        T: Item,
        V: From<T> + Serialize,
    {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let mut response = HttpResponse::Ok();
        if let (true, Some(last)) = (more, items.last()) {
            response.insert_header((header::LINK, self.next_link(last.id())));
        }
        let views: Vec<V> = items.into_iter().map(V::from).collect();
        response.json(views)
    }

    /// RFC 8288. The address has no host: which one the client used, a proxy may have changed.
    fn next_link(&self, last: Uuid) -> String {
        let Self { path, limit, .. } = self;
        format!("<{path}?limit={limit}&after={last}>; rel=\"next\"")
    }

    fn read(path: &str, query: &str) -> Result<Self, GatewayError> {
        let (mut limit, mut after) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let first = match name.as_ref() {
                "limit" => limit.replace(parse_limit(&value)?).is_none(),
                "after" => after.replace(parse_after(&value)?).is_none(),
                _ => return Err(unknown_parameter(&name)),
            };
            if !first {
                return Err(GatewayError::invalid_field(
                    &name,
                    "must not be given twice",
                ));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            after,
            limit: limit.unwrap_or(MAX_LIMIT),
        })
    }
}

impl FromRequest for PageQuery {
    type Error = GatewayError;
    type Future = Ready<Result<Self, GatewayError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::read(request.path(), request.query_string()))
    }
}

impl IntoParams for PageQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter = |name, description| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .description(Some(description))
        };
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_LIMIT))
            .default(Some(MAX_LIMIT.into()));
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
        vec![
            parameter("limit", "How many items a page has at most.")
                .schema(Some(number))
                .build(),
            parameter("after", "The id of the last item of the page before.")
                .schema(Some(id))
                .build(),
        ]
    }
}

fn parse_limit(text: &str) -> Result<u32, GatewayError> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| {
            let range = format!("must be a whole number from 1 to {MAX_LIMIT}");
            GatewayError::invalid_field("limit", range)
        })
}

fn parse_after(text: &str) -> Result<Uuid, GatewayError> {
    parse_id(text).ok_or_else(|| {
        GatewayError::invalid_field("after", "must be the id (a UUID) of an item of this list")
    })
}

/// Examples of queries that are refused.
pub(super) fn refusals() -> impl Iterator<Item = GatewayError> {
    let queries = ["limit=0", "offset=1"];
    queries
        .into_iter()
        .filter_map(|query| PageQuery::read("", query).err())
}

fn unknown_parameter(name: &str) -> GatewayError {
    GatewayError::InvalidRequest {
        message: format!("Unknown query parameter `{name}`; known are `limit` and `after`."),
        param: Some(name.to_owned()),
        code: "unknown_parameter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198c5a2-7f3e-7000-8000-000000000001";

    #[test]
    fn a_page_is_a_thousand_items_unless_the_query_says_less() {
        let page = PageQuery::read("/admin/keys", "").unwrap();
        assert_eq!((page.limit, page.after), (1000, None));
        assert_eq!(page.wanted().limit, 1001);

        let page = PageQuery::read("/admin/keys", &format!("limit=2&after={ID}")).unwrap();
        assert_eq!((page.limit, page.after), (2, parse_id(ID)));
    }

    #[test]
    fn the_next_page_has_a_link_that_reads_back() {
        let page = PageQuery::read("/admin/keys", "limit=2").unwrap();
        let last = parse_id(ID).unwrap();
        let link = page.next_link(last);
        assert_eq!(
            link,
            format!("</admin/keys?limit=2&after={ID}>; rel=\"next\"")
        );
        let next = PageQuery::read("/admin/keys", &format!("limit=2&after={ID}")).unwrap();
        assert_eq!(next.next_link(last), link);
    }

    #[test]
    fn a_query_that_cannot_be_meant_is_refused_by_name() {
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=ten", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=2", "limit"),
            ("after=", "after"),
            ("after=1", "after"),
            ("after=sk-0198c5a2-7f3e-7000-8000-000000000001", "after"),
            ("offset=3", "offset"),
            ("Limit=3", "Limit"),
        ] {
            let refusal = PageQuery::read("/admin/keys", query).unwrap_err();
            let GatewayError::InvalidRequest { param: named, .. } = refusal else {
                panic!("{query}: {refusal:?}");
            };
            assert_eq!(named.as_deref(), Some(param), "{query}");
        }
    }
}
