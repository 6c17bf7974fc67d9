//! `TestGateway`: a real gateway process with storage of its own, and `Admin`, its operator.

use std::{
    env,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    sync::Notify,
    task::JoinHandle,
};

use super::{
    client::{RawClient, Request, Response},
    described::is_described,
    evidence,
    provider::ScriptedProvider,
    soon,
    storage::TestStorage,
    tls::TRUSTED,
};

/// The admin key of every gateway under test.
pub(crate) const ADMIN_KEY: &str = "test-admin-key-0123456789abcdef";

/// What seals the providers' keys of every gateway under test that doesn't say otherwise.
pub(crate) const ENCRYPTION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A gateway process. It is killed when this value goes, unless it was stopped before.
#[derive(Debug)]
pub(crate) struct TestGateway {
    process: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    log_grew: Arc<Notify>,
    log_reader: JoinHandle<()>,
    settings: Vec<(String, String)>,
    // Last, so that the process has gone before its database goes.
    storage: Arc<TestStorage>,
}

impl TestGateway {
    /// A gateway with default settings and empty storage.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A gateway with some settings of its own.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let storage = Arc::new(TestStorage::new().await);
        Self::start_on(storage, settings).await
    }

    /// A gateway on storage that another one uses, or used.
    pub(crate) async fn start_on(storage: Arc<TestStorage>, settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        note_secrets(&storage, &settings);
        let mut process = Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .env("ADMIN_KEY", ADMIN_KEY)
            .env("ENCRYPTION_KEY", ENCRYPTION_KEY)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("WORKERS", "2")
            // There is no balancer that must hear of a stop first.
            .env("DRAIN_DELAY", "0")
            .envs(evidence::folder().map(|_| ("RUST_LOG", evidence::LEVEL)))
            .envs(storage.environment())
            .envs(settings.iter().cloned())
            .current_dir(env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let address = soon("the gateway to listen", listening(&mut lines, &log)).await;
        let log_grew = Arc::new(Notify::new());
        let log_reader = tokio::spawn(keep(lines, Arc::clone(&log), Arc::clone(&log_grew)));
        Self {
            process,
            address,
            log,
            log_grew,
            log_reader,
            settings,
            storage,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn storage(&self) -> Arc<TestStorage> {
        Arc::clone(&self.storage)
    }

    /// The operator, who has the admin key.
    pub(crate) fn admin(&self) -> Admin {
        Admin {
            address: self.admin_address().unwrap_or(self.address),
            over_tls: self.settings.iter().any(|(name, _)| name == "TLS_CERT"),
        }
    }

    /// Where `ADMIN_LISTEN_ADDR` has it serve operators.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.address_behind("operators are served on ")
    }

    /// Where `METRICS_ADDR` has it show metrics.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.address_behind("metrics are served on ")
    }

    fn address_behind(&self, words: &str) -> Option<SocketAddr> {
        let log = self.log();
        let (_, rest) = log.split_once(words)?;
        Some(leading_address(rest))
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until a line of the log contains `words`.
    pub(crate) async fn logged(&self, words: &str) {
        let appears = async {
            while !self.log().contains(words) {
                self.log_grew.notified().await;
            }
        };
        soon(&format!("the log to say `{words}`"), appears).await;
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Asks the process to stop, as a supervisor would.
    pub(crate) async fn ask_to_stop(&self) {
        self.signal("TERM").await;
    }

    pub(crate) async fn signal(&self, signal: &str) {
        send_signal(&self.process, signal).await;
    }

    /// Waits for the process to end; answers whether it did so without an error.
    pub(crate) async fn ended(&mut self) -> bool {
        let status = soon("the gateway to end", self.process.wait()).await;
        soon("the rest of the log", &mut self.log_reader)
            .await
            .unwrap();
        status.unwrap().success()
    }

    /// Stops it and starts another one on the same storage.
    pub(crate) async fn restart(mut self) -> Self {
        self.ask_to_stop().await;
        assert!(self.ended().await, "{}", self.log());
        let settings = self.settings.clone();
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Self::start_on(self.storage(), &settings).await
    }

    /// A user key, issued now.
    pub(crate) async fn user_key(&self) -> String {
        let issued = self
            .admin()
            .post("/admin/keys", json!({"name": "test"}))
            .await;
        issued.text_of("key")
    }

    /// Maps a model to a provider that is registered now.
    pub(crate) async fn serve(&self, model: &str, provider: &ScriptedProvider) {
        self.serve_from(model, &provider.base_url()).await;
    }

    /// Maps a model to a provider at an address; answers the provider's id.
    pub(crate) async fn serve_from(&self, model: &str, base_url: &str) -> String {
        let provider = json!({
            "name": format!("provider of {model}"), "kind": "openai",
            "api_key": PROVIDER_KEY, "base_url": base_url,
        });
        let provider = self
            .admin()
            .post("/admin/providers", provider)
            .await
            .text_of("id");
        let mapping = json!({"name": model, "provider_id": provider});
        assert_eq!(
            self.admin().post("/admin/models", mapping).await.status(),
            201
        );
        provider
    }
}

fn note_secrets(storage: &TestStorage, settings: &[(String, String)]) {
    evidence::used("admin key", ADMIN_KEY);
    evidence::used("encryption key", ENCRYPTION_KEY);
    for (name, value) in settings {
        match name.as_str() {
            "ENCRYPTION_KEY" if value.is_empty() => evidence::plain(&storage.name()),
            "ENCRYPTION_KEY" | "ENCRYPTION_KEY_PREVIOUS" => evidence::used("encryption key", value),
            "ADMIN_KEY" | "ADMIN_KEY_PREVIOUS" => evidence::used("admin key", value),
            _ => {}
        }
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        evidence::logged(&self.log());
        #[allow(clippy::print_stderr, reason = "the log explains a failure")]
        if std::thread::panicking() {
            eprintln!(
                "---- log of the gateway on {} ----\n{}",
                self.address,
                self.log()
            );
        }
    }
}

/// The key of the providers that [`TestGateway::serve_from`] registers.
pub(crate) const PROVIDER_KEY: &str = "provider-key-0123456789";

/// Sends a signal, such as `TERM`, to a process that runs.
pub(crate) async fn send_signal(process: &Child, signal: &str) {
    let id = process.id().unwrap().to_string();
    let sent = Command::new("kill")
        .args([format!("-{signal}"), id])
        .status()
        .await;
    assert!(sent.unwrap().success());
}

/// The address that a text begins with, whatever the log's format puts behind it.
fn leading_address(text: &str) -> SocketAddr {
    let end = text.find([' ', '"']).unwrap_or(text.len());
    text[..end].parse().unwrap()
}

/// Waits until a gateway's log says where it listens, and keeps what it read.
pub(crate) async fn listening(
    lines: &mut Lines<BufReader<ChildStderr>>,
    log: &Mutex<Vec<String>>,
) -> SocketAddr {
    while let Some(line) = lines.next_line().await.unwrap() {
        let address = line
            .split_once("listening on ")
            .map(|(_, rest)| leading_address(rest));
        log.lock().unwrap().push(line);
        if let Some(address) = address {
            return address;
        }
    }
    panic!(
        "the gateway did not start: {}",
        log.lock().unwrap().join("\n")
    );
}

async fn keep(
    mut lines: Lines<BufReader<ChildStderr>>,
    log: Arc<Mutex<Vec<String>>>,
    grew: Arc<Notify>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap().push(line);
        // `notify_one` is remembered where nobody waits yet.
        grew.notify_one();
    }
}

/// An operator with `curl`: one connection a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    over_tls: bool,
}

impl Admin {
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(Request::get(path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Response {
        self.send(Request::post(path).value(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Response {
        self.send(Request::new("PUT", path).value(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.send(Request::new("DELETE", path)).await
    }

    /// Any request, with the admin key added.
    pub(crate) async fn send(&self, request: Request) -> Response {
        let request = request.bearer(ADMIN_KEY);
        let answer = match self.over_tls {
            true => {
                let mut client = RawClient::connect_tls(self.address, &TRUSTED).await;
                client.exchange(&request).await
            }
            false => request.send_to(self.address).await,
        };
        evidence::told(&answer);
        is_described(&request, &answer).await;
        answer
    }
}

impl Response {
    /// A text field of a JSON body.
    pub(crate) fn text_of(&self, field: &str) -> String {
        let json = self.json();
        match json[field].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("no text `{field}` in {json}"),
        }
    }

    /// `code` of a body in the error envelope, whose form is checked.
    pub(crate) fn error_code(&self) -> String {
        let error = &self.json()["error"];
        assert!(error["message"].is_string(), "{error}");
        assert!(error["type"].is_string(), "{error}");
        assert!(error.get("param").is_some(), "{error}");
        error["code"].as_str().unwrap().to_owned()
    }
}
