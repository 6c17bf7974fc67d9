//! `GET /docs`: the page that shows the description, and lets readers try it out with a key that
//! they enter. All of its files are in the binary, and its policy forbids it to ask anybody else.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::header::{self, HeaderName},
};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use crate::{
    endpoints::{Described, Operation},
    error::GatewayError,
};

/// What the page may do: run and show what came with it, and ask the server that it came from.
/// Swagger UI's pictures are in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Long enough for a visit, short enough for an upgrade to be seen.
const CACHED: &str = "max-age=600";

/// A file of the page.
struct File {
    name: &'static str,
    media_type: &'static str,
    content: Content,
}

enum Content {
    Plain(&'static [u8]),
    /// Written by the build. It is sent as it is to everybody: who doesn't say what encodings it takes
    /// takes any (RFC 9110, section 12.5.3), and every browser takes this one.
    Gzipped(&'static [u8]),
}

macro_rules! gzipped {
    ($name:literal) => {
        Content::Gzipped(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")))
    };
}

static FILES: [File; 7] = [
    File {
        name: "page.js",
        media_type: "text/javascript; charset=utf-8",
        content: Content::Plain(include_bytes!("page/page.js")),
    },
    File {
        name: "page.css",
        media_type: "text/css; charset=utf-8",
        content: Content::Plain(include_bytes!("page/page.css")),
    },
    File {
        name: "swagger-ui.js",
        media_type: "text/javascript; charset=utf-8",
        content: gzipped!("swagger-ui-bundle.js"),
    },
    File {
        name: "swagger-ui.css",
        media_type: "text/css; charset=utf-8",
        content: gzipped!("swagger-ui.css"),
    },
    File {
        name: "favicon.png",
        media_type: "image/png",
        content: gzipped!("favicon-32x32.png"),
    },
    File {
        name: "license.txt",
        media_type: "text/plain; charset=utf-8",
        content: gzipped!("LICENSE"),
    },
    File {
        name: "notice.txt",
        media_type: "text/plain; charset=utf-8",
        content: gzipped!("NOTICE"),
    },
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(__path_show, show),
        Operation::get(__path_file, file),
    ]
}

/// Both of them, in the description.
pub(super) fn described() -> impl Iterator<Item = Described> {
    operations().into_iter().map(|operation| {
        let refusals = match operation.path.contains("{file}") {
            true => vec![GatewayError::UnknownUrl {
                method: "GET".to_owned(),
                path: "/docs/nothing".to_owned(),
            }],
            false => Vec::new(),
        };
        operation.described(refusals)
    })
}

/// Show the API
///
/// A page for people, with all that it needs. It asks nobody else for anything.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "showPage",
    responses((status = 200, description = "The page.", content_type = "text/html", body = String))
)]
async fn show() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(header::ContentType::html())
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(NO_SNIFF)
        .insert_header((header::CACHE_CONTROL, CACHED))
        .body(include_str!("page/index.html"))
}

/// Part of the page
///
/// A script, a style sheet, a picture, a licence.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    operation_id = "showPartOfPage",
    params(FileName),
    responses((status = 200, description = "The file.", content(
        (String = "text/javascript"), (String = "text/css"), (String = "image/png"), (String = "text/plain"),
    )))
)]
async fn file(name: FileName) -> HttpResponse {
    let File {
        media_type,
        content,
        ..
    } = name.0;
    let mut response = HttpResponse::Ok();
    response
        .content_type(*media_type)
        .insert_header(NO_SNIFF)
        .insert_header((header::CACHE_CONTROL, CACHED));
    match content {
        Content::Plain(content) => response.body(*content),
        Content::Gzipped(content) => response
            .insert_header((header::CONTENT_ENCODING, "gzip"))
            .body(*content),
    }
}

const NO_SNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");

/// `{file}` of a path: one of [`FILES`].
struct FileName(&'static File);

impl FromRequest for FileName {
    type Error = GatewayError;
    type Future = Ready<Result<Self, GatewayError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let name = request.match_info().query("file");
        let file = FILES.iter().find(|file| file.name == name);
        ready(
            file.map(Self)
                .ok_or_else(|| GatewayError::unknown_url(request)),
        )
    }
}

impl IntoParams for FileName {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let names = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(FILES.iter().map(|file| file.name)));
        let file = ParameterBuilder::new()
            .name("file")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(names));
        vec![file.build()]
    }
}
