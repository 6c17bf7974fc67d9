//! Tables of operations: what every scope serves, and how it answers a method or a path that it
//! doesn't serve. The API's description is made of the same tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Mutex, PoisonError},
};

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route,
    guard::{self, Guard, GuardContext},
    http::Method,
    web,
};
use utoipa::{
    Path,
    openapi::{self, HttpMethod},
};

use crate::{
    error::{Dialect, GatewayError, Refusal},
    record::Record,
};

/// What a request is for, as our tables have it: `/admin/keys/{id}`. Never what a client wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EndpointName(&'static str);

impl EndpointName {
    /// Where routing has led nowhere.
    pub(crate) const UNKNOWN: Self = Self("unknown");

    /// A path of ours, whole, with parameters in braces.
    pub(crate) fn new(path: &str) -> Self {
        /// There are as many as the tables have, and they are needed until the end.
        static ALL: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(path) {
            return Self(known);
        }
        let path = String::leak(path.to_owned());
        all.insert(path);
        Self(path)
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.0
    }
}

/// A guard that lets everything pass, and notes that routing has come here.
pub(crate) fn noting(endpoint: EndpointName) -> impl Guard {
    guard::fn_guard(move |context| {
        if let Some(record) = context.req_data().get::<Rc<Record>>() {
            record.note_endpoint(endpoint);
        }
        true
    })
}

/// A method of a path: what serves it, and what the API's description says of it.
pub(crate) struct Operation {
    /// As the description writes it: whole, with parameters in braces.
    pub(crate) path: String,
    pub(crate) method: HttpMethod,
    route: Route,
    about: fn() -> openapi::path::Operation,
}

impl Operation {
    /// `GET`, and `HEAD`, whose body the server leaves out.
    pub(crate) fn get<P: Path, Args>(about: P, handler: impl Serving<Args>) -> Self
    where
        Args: FromRequest + 'static,
    {
        let methods = [Method::GET, Method::HEAD];
        Self::new(HttpMethod::Get, route(methods), about, handler)
    }

    /// `POST`.
    pub(crate) fn post<P: Path, Args>(about: P, handler: impl Serving<Args>) -> Self
    where
        Args: FromRequest + 'static,
    {
        Self::new(HttpMethod::Post, route([Method::POST]), about, handler)
    }

    /// `PUT`.
    pub(crate) fn put<P: Path, Args>(about: P, handler: impl Serving<Args>) -> Self
    where
        Args: FromRequest + 'static,
    {
        Self::new(HttpMethod::Put, route([Method::PUT]), about, handler)
    }

    /// `DELETE`.
    pub(crate) fn delete<P: Path, Args>(about: P, handler: impl Serving<Args>) -> Self
    where
        Args: FromRequest + 'static,
    {
        Self::new(HttpMethod::Delete, route([Method::DELETE]), about, handler)
    }

    fn new<P: Path, Args>(
        method: HttpMethod,
        route: Route,
        _: P,
        handler: impl Serving<Args>,
    ) -> Self
    where
        Args: FromRequest + 'static,
    {
        Self {
            path: P::path(),
            method,
            route: route.to(handler),
            about: P::operation,
        }
    }

    fn methods(&self) -> &'static str {
        match self.method {
            HttpMethod::Get => "GET, HEAD",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Delete => "DELETE",
            HttpMethod::Options => "OPTIONS",
            HttpMethod::Head => "HEAD",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Trace => "TRACE",
        }
    }
}

/// An operation as the API's description has it.
pub(crate) struct Described {
    pub(crate) path: String,
    pub(crate) method: HttpMethod,
    /// What answers it gives where all is well.
    pub(crate) about: openapi::path::Operation,
    /// What the gateway refuses it with.
    pub(crate) refusals: Vec<GatewayError>,
    /// How these look.
    pub(crate) dialect: Dialect,
    /// Whether a provider may answer instead, with any status and whatever body.
    pub(crate) is_relayed: bool,
}

impl Operation {
    /// The same in the description, with what it is refused with.
    pub(crate) fn described(self, refusals: Vec<GatewayError>) -> Described {
        Described {
            about: (self.about)(),
            path: self.path,
            method: self.method,
            refusals,
            dialect: Dialect::OpenAi,
            is_relayed: false,
        }
    }
}

/// A handler of actix whose answer is one.
pub(crate) trait Serving<Args>: Handler<Args, Output: Responder + 'static> {}

impl<Args, H: Handler<Args, Output: Responder + 'static>> Serving<Args> for H {}

/// The resources that serve `operations` in the scope `scope`, which is where their paths begin.
pub(crate) fn resources(
    scope: &str,
    operations: Vec<Operation>,
) -> impl Iterator<Item = Resource> + use<> {
    let mut paths = BTreeMap::<String, Vec<Operation>>::new();
    for operation in operations {
        let path = operation.path.strip_prefix(scope).unwrap_or_default();
        paths.entry(path.to_owned()).or_default().push(operation);
    }
    paths
        .into_iter()
        .map(|(path, operations)| serve(&path, operations))
}

/// One path with all of its methods.
pub(crate) fn serve(path: &str, operations: Vec<Operation>) -> Resource {
    let methods: Vec<_> = operations.iter().map(Operation::methods).collect();
    let whole = operations.first().map(|operation| operation.path.as_str());
    let name = EndpointName::new(whole.unwrap_or(path));
    let resource = resource_in(Dialect::OpenAi, name, path, methods.join(", "));
    operations
        .into_iter()
        .fold(resource, |resource, operation| {
            resource.route(operation.route)
        })
}

/// A path that refuses every method it has no route for, and says which ones it has.
pub(crate) fn resource_in(
    dialect: Dialect,
    name: EndpointName,
    path: &str,
    allowed: impl Into<String>,
) -> Resource {
    let allowed = allowed.into();
    let refuse = move |request: HttpRequest| {
        let error = GatewayError::method_not_allowed(&request, &allowed);
        async move { Err::<HttpResponse, _>(Refusal::new(error, dialect, &request)) }
    };
    web::resource(path)
        .guard(noting(name))
        .default_service(web::to(refuse))
}

/// A route for these methods. actix's own guards note, in memory of each request, which methods they
/// stand for; [`resource_in`] knows that already.
pub(crate) fn route<const N: usize>(methods: [Method; N]) -> Route {
    let is_one = move |context: &GuardContext<'_>| methods.contains(&context.head().method);
    web::route().guard(guard::fn_guard(is_one))
}

/// The handler of every other path.
pub(crate) async fn unknown_url(request: HttpRequest) -> Result<HttpResponse, GatewayError> {
    Err(GatewayError::unknown_url(&request))
}
