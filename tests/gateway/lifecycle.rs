//! Start, health, stop, and the command line.

use std::{
    collections::HashSet,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Mutex,
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};
use uuid::Uuid;

use crate::support::{
    client::{RawClient, Request},
    gateway::{ADMIN_KEY, TestGateway, listening, send_signal},
    provider::ScriptedProvider,
    script::Answer,
    soon,
};

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    run_in(&env::temp_dir(), arguments, environment).await
}

async fn run_in(
    folder: &Path,
    arguments: &[&str],
    environment: &[(impl AsRef<OsStr>, impl AsRef<OsStr>)],
) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .output()
        .await
        .unwrap()
}

/// A folder with a `.env` file. It is removed with this value.
struct EnvFile(PathBuf);

impl EnvFile {
    fn new(text: &str) -> Self {
        let folder = env::temp_dir().join(format!("gateway_test_{}", Uuid::new_v4().simple()));
        fs::create_dir_all(folder.join("below")).unwrap();
        fs::write(folder.join(".env"), text).unwrap();
        Self(folder)
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-gateway"));
    command.env_clear();
    command
}

/// Starts a gateway on SQLite in this folder, whose log is the test's to read.
fn start_in(folder: &EnvFile, command: &mut Command) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut process = command
        .env("ADMIN_KEY", ADMIN_KEY)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", "sqlite://gateway.db")
        .current_dir(&folder.0)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    (process, lines)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[actix_web::test]
async fn a_gateway_that_runs_is_alive_and_ready() {
    let gateway = TestGateway::start().await;
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let answer = Request::get(path).send_to(gateway.address()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json()["status"], status);
    }
}

#[actix_web::test]
async fn health_answers_get_and_head_and_refuses_other_methods() {
    let gateway = TestGateway::start().await;
    for path in ["/healthz", "/readyz"] {
        let mut client = RawClient::connect(gateway.address()).await;
        let head = Request::new("HEAD", path);
        client.send(head.to_bytes()).await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status(), 200);
        // The next answer on this connection begins where a body would have stood.
        let get = client.exchange(&Request::get(path)).await;
        assert!(get.json()["status"].is_string());

        let refused = Request::post(path).send_to(gateway.address()).await;
        assert_eq!(refused.status(), 405);
        assert_eq!(refused.error_code(), "method_not_allowed");
        assert_eq!(refused.header("allow").as_deref(), Some("GET, HEAD"));
    }
}

#[actix_web::test]
async fn an_unknown_path_gets_the_envelope_and_an_id() {
    let gateway = TestGateway::start().await;
    for path in ["/", "/v2/chat/completions", "/favicon.ico"] {
        let answer = Request::get(path).send_to(gateway.address()).await;
        assert_eq!(
            (answer.status(), answer.error_code().as_str()),
            (404, "unknown_url")
        );
        assert!(answer.header("x-gateway-request-id").is_some());
    }
}

#[actix_web::test]
async fn a_running_stream_finishes_before_the_gateway_stops() {
    let provider = ScriptedProvider::start().await;
    let (answer, feed) = Answer::live();
    provider.next(answer);
    let mut gateway = TestGateway::start().await;
    gateway.serve("m", &provider).await;
    let request = Request::post("/v1/chat/completions")
        .bearer(&gateway.user_key().await)
        .value(&json!({"model": "m", "stream": true}));
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(request.to_bytes()).await.unwrap();
    feed.stream_head();
    feed.chunk("data: one\n\n");
    let head = client.read_head().await.unwrap();
    assert_eq!(client.next_data().await, b"data: one\n\n");

    gateway.ask_to_stop().await;
    gateway.logged("stopping").await;
    feed.chunk("data: two\n\n");
    feed.end_chunks();
    let rest = client.read_rest(head).await;
    assert!(rest.is_complete());
    assert_eq!(rest.text(), "data: two\n\n");
    assert!(gateway.ended().await);
}

#[actix_web::test]
async fn a_stream_that_does_not_finish_in_time_is_broken_off() {
    let provider = ScriptedProvider::start().await;
    let (answer, feed) = Answer::live();
    provider.next(answer);
    let mut gateway = TestGateway::start_with(&[("SHUTDOWN_TIMEOUT", "1s")]).await;
    gateway.serve("m", &provider).await;
    let request = Request::post("/v1/chat/completions")
        .bearer(&gateway.user_key().await)
        .value(&json!({"model": "m", "stream": true}));
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(request.to_bytes()).await.unwrap();
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    gateway.ask_to_stop().await;
    let rest = client.read_rest(head).await;
    assert!(!rest.is_complete());
    assert!(gateway.ended().await);
}

#[actix_web::test]
async fn a_second_signal_does_not_wait_for_running_streams() {
    let provider = ScriptedProvider::start().await;
    let (answer, feed) = Answer::live();
    provider.next(answer);
    let mut gateway = TestGateway::start_with(&[("SHUTDOWN_TIMEOUT", "10m")]).await;
    gateway.serve("m", &provider).await;
    let request = Request::post("/v1/chat/completions")
        .bearer(&gateway.user_key().await)
        .value(&json!({"model": "m", "stream": true}));
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(request.to_bytes()).await.unwrap();
    feed.stream_head();
    let head = client.read_head().await.unwrap();
    gateway.ask_to_stop().await;
    gateway.logged("stopping").await;
    gateway.signal("INT").await;
    assert!(!gateway.ended().await);
    assert!(!client.read_rest(head).await.is_complete());
}

#[cfg(unix)]
#[actix_web::test]
async fn a_signal_ends_a_start_that_does_not_come_to_its_end() {
    let folder = EnvFile::new("");
    // Whoever migrates holds this lock; the gateway waits for it.
    let lock = fs::File::create(folder.0.join("gateway.migrating")).unwrap();
    lock.lock().unwrap();
    let (mut process, mut lines) = start_in(&folder, &mut gateway());
    let opening = async { while !lines.next_line().await.unwrap().unwrap().contains("redis:") {} };
    soon("the start to begin", opening).await;
    send_signal(&process, "TERM").await;
    let status = soon("the process to end", process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[actix_web::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let mut gateway = TestGateway::start_with(&[("SHUTDOWN_TIMEOUT", "10m")]).await;
    let mut client = RawClient::connect(gateway.address()).await;
    assert_eq!(
        client.exchange(&Request::get("/healthz")).await.status(),
        200
    );
    gateway.ask_to_stop().await;
    assert!(gateway.ended().await);
}

#[actix_web::test]
async fn readiness_ends_first_and_requests_are_served_on() {
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|_| Answer::json(200, "{}"));
    let mut gateway = TestGateway::start_with(&[("DRAIN_DELAY", "10m")]).await;
    gateway.serve("m", &provider).await;
    let request = Request::post("/v1/chat/completions")
        .bearer(&gateway.user_key().await)
        .value(&json!({"model": "m"}));
    let mut kept = RawClient::connect(gateway.address()).await;
    let before = kept.exchange(&request).await;
    assert_eq!(before.header("connection"), None);
    gateway.ask_to_stop().await;
    gateway.logged("draining").await;
    let ready = Request::get("/readyz").send_to(gateway.address()).await;
    assert_eq!(
        (ready.status(), ready.error_code().as_str()),
        (503, "draining")
    );
    let alive = Request::get("/healthz").send_to(gateway.address()).await;
    assert_eq!(alive.status(), 200);
    // On a kept connection and on a new one; each answer is its connection's last.
    for mut client in [kept, RawClient::connect(gateway.address()).await] {
        let answer = client.exchange(&request).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        client.server_left().await;
    }
    gateway.signal("INT").await;
    assert!(!gateway.ended().await);
}

#[actix_web::test]
async fn a_person_at_a_terminal_waits_for_no_balancer() {
    let mut gateway = TestGateway::start_with(&[("DRAIN_DELAY", "10m")]).await;
    gateway.signal("INT").await;
    assert!(gateway.ended().await, "{}", gateway.log());
}

/// A pipe holds some three hundred of these lines.
#[actix_web::test]
async fn a_log_that_nobody_reads_holds_up_no_request_and_loses_no_line() {
    const REQUESTS: usize = 1_000;
    let folder = EnvFile::new("");
    let mut command = gateway();
    command.env("DRAIN_DELAY", "0").env("WORKERS", "2");
    let (process, mut lines) = start_in(&folder, &mut command);
    let begun = Mutex::default();
    let address = soon("the gateway to listen", listening(&mut lines, &begun)).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(RawClient::connect(address).await);
    }
    let mut ids = HashSet::new();
    for number in 0..REQUESTS {
        let client = &mut clients[number % 8];
        let answer = soon("an answer", client.exchange(&Request::get("/v1/models"))).await;
        assert_eq!(answer.status(), 401);
        ids.insert(answer.header("x-gateway-request-id").unwrap());
    }
    assert_eq!(ids.len(), REQUESTS);
    send_signal(&process, "TERM").await;
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, id)) = line.split_once(" access] request_id=") {
                assert!(ids.remove(&id[..36]), "once: {line}");
            }
        }
    };
    soon("the end of the log", reading).await;
    assert!(ids.is_empty(), "{} lines are missing", ids.len());
}

#[cfg(target_os = "linux")]
#[actix_web::test]
async fn the_limit_of_open_files_is_raised() {
    let folder = EnvFile::new("");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -S -n 200 && exec \"$0\""])
        .arg(env!("CARGO_BIN_EXE_llm-gateway"));
    let (process, mut lines) = start_in(&folder, &mut command);
    let begun = Mutex::default();
    soon("the gateway to listen", listening(&mut lines, &begun)).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id().unwrap())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<_> = files.unwrap().split_whitespace().collect();
    assert_eq!(words[3], words[4], "soft and hard: {limits}");
}

#[actix_web::test]
async fn help_and_version_need_no_settings() {
    let help = run(&["--help"], &[]).await;
    assert!(help.status.success());
    for word in ["healthcheck", "check-config", "--version"] {
        assert!(text(&help.stdout).contains(word));
    }
    let version = run(&["--version"], &[]).await;
    let expected = concat!("llm-gateway ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(text(&version.stdout), expected);
    let unknown = run(&["--frobnicate"], &[]).await;
    assert!(!unknown.status.success());
    assert!(text(&unknown.stderr).contains("--help"));
}

#[actix_web::test]
async fn every_problem_of_the_environment_is_reported_at_once() {
    let bad = [
        ("LISTEN_ADDR", "here"),
        ("CACHE_TIMEOUT", "soon"),
        ("REDIS_URL", "x"),
    ];
    for command in [&[][..], &["check-config"][..]] {
        let refused = run(command, &bad).await;
        assert!(!refused.status.success());
        let problems = text(&refused.stderr);
        for name in ["ADMIN_KEY", "LISTEN_ADDR", "CACHE_TIMEOUT", "REDIS_URL"] {
            let lines = problems.lines().filter(|line| line.starts_with(name));
            assert_eq!(lines.count(), 1, "{problems}");
        }
    }
}

#[cfg(unix)]
#[actix_web::test]
async fn a_variable_that_is_not_utf_8_is_a_problem_and_not_a_default() {
    use std::os::unix::ffi::OsStrExt as _;
    let environment = [
        ("ADMIN_KEY", OsStr::from_bytes(b"hunter2\xff")),
        (
            "DATABASE_URL",
            OsStr::from_bytes(b"postgres://hunter2\xff@db/x"),
        ),
        ("REQUIRE_DATABASE_URL", OsStr::new("true")),
    ];
    let refused = run_in(&env::temp_dir(), &["check-config"], &environment).await;
    assert!(!refused.status.success());
    let problems = text(&refused.stderr);
    let lines: Vec<_> = problems.lines().collect();
    assert_eq!(lines.len(), 2, "{problems}");
    for name in ["ADMIN_KEY", "DATABASE_URL"] {
        let line = format!("{name}: is not UTF-8");
        assert!(lines.iter().any(|l| l.starts_with(&line)), "{problems}");
    }
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[actix_web::test]
async fn the_env_file_of_the_working_directory_stands_behind_the_environment() {
    let file = EnvFile::new(
        "ADMIN_KEY=0123456789\nDATABASE_URL=postgres://db.example/x\nCACHE_PREFIX=file\n",
    );
    let environment = [("DATABASE_URL", ""), ("CACHE_PREFIX", "here")];
    let printed = run_in(&file.0, &["check-config"], &environment).await;
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let printed = text(&printed.stdout);
    for line in ["DATABASE_URL=postgres://db.example/x", "CACHE_PREFIX=here"] {
        assert!(printed.lines().any(|l| l == line), "{printed}");
    }
    let below = run_in(&file.0.join("below"), &["check-config"], &environment).await;
    assert!(text(&below.stderr).starts_with("ADMIN_KEY: is required"));
}

#[actix_web::test]
async fn the_effective_settings_are_printed_without_secrets() {
    let environment = [
        ("ADMIN_KEY", "hunter2-admin-key"),
        ("DATABASE_URL", "postgres://bob:hunter2@db.example/gateway"),
        ("REDIS_URL", "rediss://:hunter2@cache.example"),
    ];
    let printed = run(&["check-config"], &environment).await;
    assert!(printed.status.success());
    let printed = text(&printed.stdout);
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("STALE_GRACE=15m\n"), "{printed}");
    assert!(
        printed.contains("DATABASE_URL=postgres://***@db.example/gateway\n"),
        "{printed}"
    );
}

#[actix_web::test]
async fn the_health_check_tells_by_its_exit_code() {
    let mut gateway = TestGateway::start().await;
    let address = gateway.address().to_string();
    let environment = [("ADMIN_KEY", ADMIN_KEY), ("LISTEN_ADDR", address.as_str())];
    assert!(run(&["healthcheck"], &environment).await.status.success());
    gateway.ask_to_stop().await;
    gateway.ended().await;
    let unhealthy = run(&["healthcheck"], &environment).await;
    assert!(!unhealthy.status.success());
    assert!(text(&unhealthy.stderr).contains("unhealthy"));
}

#[actix_web::test]
async fn an_address_in_use_ends_the_start_with_one_line() {
    let gateway = TestGateway::start().await;
    let address = gateway.address().to_string();
    for variable in ["LISTEN_ADDR", "ADMIN_LISTEN_ADDR", "METRICS_ADDR"] {
        let environment = [
            ("ADMIN_KEY", ADMIN_KEY),
            ("LISTEN_ADDR", "127.0.0.1:0"),
            (variable, address.as_str()),
        ];
        let refused = run(&[], &environment).await;
        assert!(!refused.status.success());
        let problem = text(&refused.stderr);
        let says = format!("{variable}: can't listen on {address}");
        assert!(problem.starts_with(&says), "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
}

#[actix_web::test]
async fn the_log_holds_no_secret() {
    let provider = ScriptedProvider::start().await;
    provider.next(Answer::json(200, "{}"));
    let gateway = TestGateway::start_with(&[("RUST_LOG", "debug")]).await;
    gateway.serve("m", &provider).await;
    let key = gateway.user_key().await;
    let request = Request::post("/v1/chat/completions")
        .bearer(&key)
        .value(&json!({"model": "m", "messages": ["a-private-word"]}));
    assert_eq!(request.send_to(gateway.address()).await.status(), 200);
    let log = gateway.log();
    assert!(log.contains("listening on"));
    for secret in [
        ADMIN_KEY,
        &key,
        crate::support::gateway::PROVIDER_KEY,
        "a-private-word",
    ] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}
