//! TLS on the listener itself: what is offered, what a client's leaving and the gateway's stopping
//! mean over it, and certificates that come and go.

use std::{env, fs, path::PathBuf, process::Stdio};

use serde_json::json;
use tokio::{net::TcpStream, process::Command};
use uuid::Uuid;

use crate::support::{
    client::{RawClient, Request},
    gateway::{ADMIN_KEY, TestGateway},
    provider::ScriptedProvider,
    script::{Answer, Ending},
    soon,
    tls::{Authority, TRUSTED, UNTRUSTED},
};

/// A folder with a certificate and its key. It is removed with this value.
struct Files(PathBuf);

impl Files {
    fn new(authority: &Authority) -> Self {
        let folder = env::temp_dir().join(format!("gateway_test_{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&folder).unwrap();
        let files = Self(folder);
        files.write(authority.issue());
        files
    }

    fn write(&self, (certificate, key): (String, String)) {
        fs::write(self.path("tls.crt"), certificate).unwrap();
        fs::write(self.path("tls.key"), key).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    async fn gateway(&self) -> TestGateway {
        let (certificate, key) = (self.path("tls.crt"), self.path("tls.key"));
        TestGateway::start_with(&[
            ("TLS_CERT", &certificate),
            ("TLS_KEY", &key),
            ("ADMIN_LISTEN_ADDR", "127.0.0.1:0"),
        ])
        .await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

async fn connect(gateway: &TestGateway) -> RawClient {
    RawClient::connect_tls(gateway.address(), &TRUSTED).await
}

fn asking(key: &str) -> Request {
    Request::post("/v1/chat/completions")
        .bearer(key)
        .value(&json!({"model": "m", "stream": true}))
}

#[actix_rt::test]
async fn everything_is_served_over_tls_and_nothing_without() {
    let files = Files::new(&TRUSTED);
    let provider = ScriptedProvider::start().await;
    provider.next(
        Answer::stream()
            .chunk("data: one\n\n")
            .chunk("data: two\n\n")
            .end_chunks(),
    );
    let gateway = files.gateway().await;
    gateway.serve("m", &provider).await;
    let mut client = connect(&gateway).await;
    let answer = client.exchange(&asking(&gateway.user_key().await)).await;
    assert!(answer.is_complete());
    assert_eq!(answer.text(), "data: one\n\ndata: two\n\n");
    // Once more on the same connection.
    assert_eq!(
        client.exchange(&Request::get("/readyz")).await.status(),
        200
    );

    for address in [gateway.address(), gateway.admin_address().unwrap()] {
        let mut plain = RawClient::connect(address).await;
        let sent = plain.send(Request::get("/healthz").to_bytes()).await;
        if sent.is_ok() {
            assert!(plain.read_head().await.is_err(), "answered without TLS");
        }
    }
}

#[actix_rt::test]
async fn only_http_1_1_is_agreed_on() {
    let files = Files::new(&TRUSTED);
    let gateway = files.gateway().await;
    for address in [gateway.address(), gateway.admin_address().unwrap()] {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some("http/1.1")),
            (&["http/1.1"][..], Some("http/1.1")),
            (&[][..], None),
        ] {
            let stream = TcpStream::connect(address).await.unwrap();
            let wire = TRUSTED.connect_offering(stream, offered).await.unwrap();
            assert_eq!(wire.protocol().as_deref(), agreed, "{offered:?}");
        }
        let stream = TcpStream::connect(address).await.unwrap();
        assert!(TRUSTED.connect_offering(stream, &["h2"]).await.is_err());
    }
}

#[actix_rt::test]
async fn a_client_that_leaves_over_tls_cancels_its_providers_request() {
    let files = Files::new(&TRUSTED);
    let provider = ScriptedProvider::start().await;
    let gateway = files.gateway().await;
    gateway.serve("m", &provider).await;
    let key = gateway.user_key().await;
    for (connection, leave) in [RawClient::leave, RawClient::reset].into_iter().enumerate() {
        provider.next(Answer::stream().chunk("begun").hang());
        let mut client = connect(&gateway).await;
        client.send(asking(&key).to_bytes()).await.unwrap();
        client.read_head().await.unwrap();
        assert_eq!(client.next_data().await, b"begun");
        leave(client);
        provider.client_left(connection).await;
    }
    for (connection, leave) in [RawClient::leave, RawClient::reset].into_iter().enumerate() {
        provider.next(Answer::silent().hang());
        let mut client = connect(&gateway).await;
        client.send(asking(&key).to_bytes()).await.unwrap();
        provider.request(2 + connection).await;
        leave(client);
        provider.client_left(2 + connection).await;
    }
}

#[actix_rt::test]
async fn a_running_stream_over_tls_finishes_before_the_gateway_stops() {
    let files = Files::new(&TRUSTED);
    let provider = ScriptedProvider::start().await;
    let (answer, feed) = Answer::live();
    provider.next(answer);
    let mut gateway = files.gateway().await;
    gateway.serve("m", &provider).await;
    let key = gateway.user_key().await;
    let mut idle = connect(&gateway).await;
    assert_eq!(idle.exchange(&Request::get("/healthz")).await.status(), 200);
    let mut client = connect(&gateway).await;
    client.send(asking(&key).to_bytes()).await.unwrap();
    feed.stream_head();
    feed.chunk("data: one\n\n");
    let head = client.read_head().await.unwrap();
    assert_eq!(client.next_data().await, b"data: one\n\n");

    gateway.ask_to_stop().await;
    gateway.logged("stopping").await;
    // Nobody waits for a connection that idles.
    idle.server_left().await;
    feed.chunk("data: two\n\n");
    feed.end_chunks();
    let rest = client.read_rest(head).await;
    assert!(rest.is_complete());
    assert_eq!(rest.text(), "data: two\n\n");
    assert!(gateway.ended().await);
}

#[actix_rt::test]
async fn an_answer_that_breaks_off_is_broken_over_tls_too() {
    let files = Files::new(&TRUSTED);
    let provider = ScriptedProvider::start().await;
    let gateway = files.gateway().await;
    gateway.serve("m", &provider).await;
    let key = gateway.user_key().await;
    provider.next(Answer::stream().chunk("begun").end(Ending::Reset));
    let answer = connect(&gateway).await.exchange(&asking(&key)).await;
    assert_eq!(answer.text(), "begun");
    assert!(!answer.is_complete());
}

#[actix_rt::test]
async fn a_new_certificate_is_taken_up_and_an_unusable_one_is_not() {
    let files = Files::new(&TRUSTED);
    let gateway = files.gateway().await;
    let address = gateway.address();
    let mut before = connect(&gateway).await;
    let healthy = Request::get("/healthz");
    assert_eq!(before.exchange(&healthy).await.status(), 200);

    fs::write(files.path("tls.crt"), "half a certificate").unwrap();
    gateway.logged("the certificate before stays in use").await;
    assert_eq!(
        connect(&gateway).await.exchange(&healthy).await.status(),
        200
    );

    // By another authority, so that it shows which one is in use.
    files.write(UNTRUSTED.issue());
    gateway.logged("TLS: a new certificate is in use").await;
    let mut after = RawClient::connect_tls(address, &UNTRUSTED).await;
    assert_eq!(after.exchange(&healthy).await.status(), 200);
    let stream = TcpStream::connect(address).await.unwrap();
    assert!(TRUSTED.connect(stream).await.is_err());
    // What was connected stays so.
    assert_eq!(before.exchange(&healthy).await.status(), 200);
    let said = gateway.log();
    assert_eq!(said.matches("stays in use").count(), 1, "{said}");
}

async fn run(environment: &[(&str, &str)], arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
        .args(arguments)
        .env_clear()
        .env("ADMIN_KEY", ADMIN_KEY)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(environment.iter().copied())
        .current_dir(env::temp_dir())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = soon("the program to end", output).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

#[actix_rt::test]
async fn a_pair_that_cannot_be_used_stops_the_start_in_one_line() {
    let files = Files::new(&TRUSTED);
    let (other, _) = TRUSTED.issue();
    fs::write(files.path("other.crt"), other).unwrap();
    fs::write(files.path("empty"), "").unwrap();
    for (certificate, key, problem) in [
        ("gone.crt", "tls.key", "TLS_CERT: "),
        ("tls.crt", "gone.key", "TLS_KEY: "),
        ("empty", "tls.key", "TLS_CERT: holds no certificate"),
        ("tls.key", "tls.key", "TLS_CERT: holds no certificate"),
        ("tls.crt", "empty", "TLS_KEY: holds no private key"),
        ("tls.crt", "tls.crt", "TLS_KEY: holds no private key"),
        ("other.crt", "tls.key", "TLS_KEY: does not belong to"),
    ] {
        let (certificate, key) = (files.path(certificate), files.path(key));
        let settings = [
            ("TLS_CERT", certificate.as_str()),
            ("TLS_KEY", key.as_str()),
        ];
        let (started, said) = run(&settings, &[]).await;
        assert!(!started);
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.starts_with(problem), "{said}");
        assert!(!said.contains("-----"), "{said}");
    }
}

#[actix_rt::test]
async fn the_health_check_speaks_tls_where_the_gateway_does() {
    let files = Files::new(&TRUSTED);
    let gateway = files.gateway().await;
    let address = gateway.address().to_string();
    let (certificate, key) = (files.path("tls.crt"), files.path("tls.key"));
    let settings = [
        ("LISTEN_ADDR", address.as_str()),
        ("TLS_CERT", certificate.as_str()),
        ("TLS_KEY", key.as_str()),
    ];
    let (healthy, said) = run(&settings, &["healthcheck"]).await;
    assert!(healthy, "{said}");
    let (healthy, _) = run(&settings[..1], &["healthcheck"]).await;
    assert!(!healthy);
}
