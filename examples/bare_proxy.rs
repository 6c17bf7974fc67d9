//! What the stack itself costs: actix-web and awc pass a chat request on, with the least that a
//! gateway must do. It hashes the key and puts another model in; it checks nothing and keeps
//! nothing. `scripts/bench.sh` measures the gateway against it.
//!
//! Usage: `bare_proxy UPSTREAM WORKERS`, for example `bare_proxy http://127.0.0.1:9000 2`

// A program for the terminal, without the gateway's promises: awc's defaults will do.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::{hint::black_box, io, time::Duration};

use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, body::SizedStream, error, web};
use awc::{Client, Connector};
use bytes::Bytes;
use memchr::memmem;
use sha2::{Digest as _, Sha256};

/// That of the gateway, so that the allocator makes no difference.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HOUR: Duration = Duration::from_secs(3600);
const ASKED: &[u8] = br#""model":"bench""#;
const SENT: &[u8] = br#""model":"mock""#;

async fn pass(
    request: HttpRequest,
    body: Bytes,
    upstream: web::Data<(Client, String)>,
) -> actix_web::Result<HttpResponse> {
    let key = request.headers().get(AUTHORIZATION).map(|it| it.as_bytes());
    black_box(Sha256::digest(key.unwrap_or_default()));
    let body = with_model(body);
    let (client, base) = upstream.get_ref();
    let outgoing = client
        .request_from(format!("{base}{}", request.uri()), request.head())
        .insert_header((AUTHORIZATION, "Bearer sk-the-providers-own-key"))
        .no_decompress()
        .send_body(body);
    let answer = outgoing.await.map_err(error::ErrorBadGateway)?;
    let mut response = HttpResponse::build(answer.status());
    for (name, value) in answer.headers() {
        response.append_header((name.clone(), value.clone()));
    }
    Ok(match length(answer.headers()) {
        Some(length) => response.body(SizedStream::new(length, answer)),
        None => response.streaming(answer),
    })
}

fn with_model(body: Bytes) -> Bytes {
    match memmem::rfind(&body, ASKED) {
        Some(at) => [&body[..at], SENT, &body[at + ASKED.len()..]]
            .concat()
            .into(),
        None => body,
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(base), Some(Ok(workers))) = (arguments.next(), arguments.next().map(|n| n.parse()))
    else {
        return Err(io::Error::other("usage: bare_proxy UPSTREAM WORKERS"));
    };
    let server = HttpServer::new(move || {
        let connector = Connector::new()
            .limit(0)
            .conn_lifetime(HOUR)
            .conn_keep_alive(HOUR);
        let client = Client::builder()
            .connector(connector)
            .disable_timeout()
            .finish();
        App::new()
            .app_data(web::PayloadConfig::new(64 << 20))
            .app_data(web::Data::new((client, base.clone())))
            .default_service(web::to(pass))
    });
    let server = server
        .workers(workers)
        .tcp_nodelay(true)
        .keep_alive(HOUR)
        .bind("127.0.0.1:0")?;
    for address in server.addrs() {
        println!("bare proxy listening on http://{address}");
    }
    server.run().await
}
