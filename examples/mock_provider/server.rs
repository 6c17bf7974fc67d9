//! The HTTP side: every endpoint goes through the same steps, so that keys, settings, delays and
//! failures work alike everywhere.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use bytes::Bytes;

use crate::chat::TextAnswers;
use crate::endpoints::{Call, ENDPOINTS, Endpoint, Request};
use crate::error::MockError;
use crate::form::Form;
use crate::models;
use crate::options::Options;
use crate::settings::Settings;

/// Twice what the gateway lets through by default, so that limits are the gateway's.
const MOST_BODY_BYTES: usize = 64 << 20;

/// Seconds that running answers get when the process is told to end.
const SHUTDOWN_SECONDS: u64 = 1;

/// Numbers the requests of all workers.
static REQUESTS: AtomicU64 = AtomicU64::new(1);

/// What one worker holds.
pub(crate) struct Mock {
    defaults: Settings,
    authorization: Option<String>,
    pub(crate) models: Bytes,
    pub(crate) texts: RefCell<TextAnswers>,
}

impl Mock {
    fn new(options: &Options) -> Self {
        Self {
            defaults: options.settings.clone(),
            authorization: options.api_key.as_ref().map(|key| format!("Bearer {key}")),
            models: models::list(&options.models),
            texts: RefCell::default(),
        }
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), MockError> {
        let Some(expected) = &self.authorization else {
            return Ok(());
        };
        let (_, key) = expected.split_at("Bearer ".len());
        let given = |name: &str, expected: &str| {
            headers
                .get(name)
                .is_some_and(|given| given.as_bytes() == expected.as_bytes())
        };
        // As OpenAI, Anthropic and Azure have it.
        match given("authorization", expected) || given("x-api-key", key) || given("api-key", key) {
            true => Ok(()),
            false => Err(MockError::wrong_key()),
        }
    }

    fn settings_for(
        &self,
        headers: &HeaderMap,
        request: &Request<'_>,
    ) -> Result<Settings, MockError> {
        let mut settings = self.defaults.clone();
        settings
            .set_from_headers(headers)
            .and_then(|()| settings.set_from_model(request.model.as_deref().unwrap_or_default()))
            .map_err(MockError::bad_request)?;
        Ok(settings)
    }
}

/// Serves until a signal ends the process.
pub(crate) async fn run(options: Options) -> io::Result<()> {
    let (listen, workers, keep_alive) =
        (options.listen.clone(), options.workers, options.keep_alive);
    let mut server = HttpServer::new(move || {
        let mock = Data::new(Mock::new(&options));
        App::new().app_data(mock).configure(add_endpoints)
    })
    .keep_alive(keep_alive)
    // Streamed events are small, and each should leave at once.
    .tcp_nodelay(true)
    .shutdown_timeout(SHUTDOWN_SECONDS);
    if let Some(count) = workers {
        server = server.workers(count);
    }
    let server = server
        .bind(&listen)
        .map_err(|problem| io::Error::new(problem.kind(), format!("{listen}: {problem}")))?;
    for address in server.addrs() {
        println!("mock provider listening on http://{address}/v1");
    }
    server.run().await
}

fn add_endpoints(config: &mut web::ServiceConfig) {
    for endpoint in ENDPOINTS {
        let handler = move |mock: Data<Mock>, request: HttpRequest, payload: Payload| async move {
            respond(endpoint, &mock, &request, payload).await
        };
        let route = web::method(endpoint.method.clone()).to(handler);
        config.service(
            web::resource(endpoint.path)
                .route(route)
                .default_service(web::to(wrong_method)),
        );
    }
    config.default_service(web::to(unknown_url));
}

async fn respond(
    endpoint: &Endpoint,
    mock: &Mock,
    request: &HttpRequest,
    payload: Payload,
) -> HttpResponse {
    let id = request_id();
    let mut response = answer(endpoint, mock, request.headers(), payload, &id)
        .await
        .unwrap_or_else(|error| match endpoint.is_anthropics() {
            true => error.anthropic_response(&id),
            false => error.response(&id),
        });
    if let (true, Ok(id)) = (endpoint.is_anthropics(), HeaderValue::from_str(&id)) {
        let name = HeaderName::from_static("request-id");
        response.headers_mut().insert(name, id);
    }
    response
}

async fn answer(
    endpoint: &Endpoint,
    mock: &Mock,
    headers: &HeaderMap,
    payload: Payload,
    id: &str,
) -> Result<HttpResponse, MockError> {
    mock.check_key(headers)?;
    let body = read(payload).await?;
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let form = Form::parse(content_type.unwrap_or_default(), &body);
    let request = match &form {
        Some(form) => Request::of_form(form),
        None => Request::parse(&body)?,
    };
    let settings = mock.settings_for(headers, &request)?;
    if !settings.delay.is_zero() {
        tokio::time::sleep(settings.delay).await;
    }
    if let Some(status) = settings.failure(headers) {
        return Err(MockError::on_demand(status, settings.retry_after));
    }
    let call = Call {
        body: &body,
        form: form.as_ref(),
        request: &request,
        settings: &settings,
        mock,
    };
    Ok((endpoint.answer)(&call)?.response(id, &settings))
}

async fn read(payload: Payload) -> Result<Bytes, MockError> {
    payload
        .to_bytes_limited(MOST_BODY_BYTES)
        .await
        .map_err(|_| MockError::too_large())?
        .map_err(|problem| MockError::bad_request(problem.to_string()))
}

async fn unknown_url(request: HttpRequest) -> HttpResponse {
    MockError::unknown_url(request.method().as_str(), request.path()).response(&request_id())
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    MockError::wrong_method(request.method().as_str(), request.path()).response(&request_id())
}

fn request_id() -> String {
    format!("req_mock_{}", REQUESTS.fetch_add(1, Ordering::Relaxed))
}
