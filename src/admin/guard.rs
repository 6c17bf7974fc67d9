//! Lets only those pass who have the admin key.

use std::rc::Rc;

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};

use crate::{bearer::bearer_token, domain::Secret, error::GatewayError};

/// Refuses a request without the admin key before anything else of it is looked at.
pub(super) async fn require_admin_key<B: MessageBody>(
    admin_key: Rc<Secret>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let is_admin = bearer_token(request.headers()).is_some_and(|token| admin_key.matches(token));
    if !is_admin {
        // An answer rather than an `Err`, so that outer middleware sees a response.
        let refusal = request.error_response(GatewayError::InvalidAdminKey);
        return Ok(refusal.map_into_right_body());
    }
    next.call(request)
        .await
        .map(ServiceResponse::map_into_left_body)
}
