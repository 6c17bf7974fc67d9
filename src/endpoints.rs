//! How every scope answers a method or a path that it doesn't serve.

use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard, web};

use crate::error::{Dialect, GatewayError, Refusal};

/// A path that refuses every method it has no route for, and says which ones it has.
pub(crate) fn resource(path: &str, allowed: &'static str) -> Resource {
    resource_in(Dialect::OpenAi, path, allowed)
}

/// The same, of an API whose refusals look otherwise.
pub(crate) fn resource_in(dialect: Dialect, path: &str, allowed: &'static str) -> Resource {
    let refuse = move |request: HttpRequest| async move {
        let error = GatewayError::method_not_allowed(&request, allowed);
        Err::<HttpResponse, _>(Refusal::new(error, dialect, &request))
    };
    web::resource(path).default_service(web::to(refuse))
}

/// `GET`, and `HEAD`, whose body the server leaves out.
pub(crate) fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// The handler of every other path.
pub(crate) async fn unknown_url(request: HttpRequest) -> Result<HttpResponse, GatewayError> {
    Err(GatewayError::unknown_url(&request))
}
