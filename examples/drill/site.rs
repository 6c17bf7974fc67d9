//! The processes of a drill: gateways, a provider, and the servers behind them, which
//! `scripts/own-servers.sh` kills, freezes and starts again on our behalf.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use uuid::Uuid;

use crate::{
    Result,
    cable::Cable,
    http::{Connection, chat, request},
    options::Options,
};

/// The longest that anything here may take to start, or to come back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A server that can be struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    Redis,
}

/// What can be done to it; `scripts/own-servers.sh` knows how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Kill,
    Start,
    Freeze,
    Wake,
}

/// What all replicas share.
pub(crate) struct Site {
    pub(crate) options: Options,
    pub(crate) prefix: String,
    pub(crate) provider_url: String,
    _provider: Process,
}

/// A process of ours. It is killed when this value goes.
struct Process {
    child: Child,
    address: SocketAddr,
}

/// A gateway.
pub(crate) struct Replica {
    process: Process,
    admin_key: String,
    /// Carries the connection on which it hears of commits.
    pub(crate) to_listener: Option<Cable>,
}

/// A key as it was issued.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Process {
    /// Starts a program whose log says where it listens.
    async fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = fs::File::create(log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = address_in(&fs::read_to_string(log)?) {
                return Ok(Self { child, address });
            }
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("it did not start; see {}", log.display()).into());
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

fn address_in(log: &str) -> Option<SocketAddr> {
    let (_, after) = log.split_once("listening on ")?;
    let (line, _) = after.split_once('\n')?;
    let address = line.trim_start_matches("http://").trim_end_matches("/v1");
    address.parse().ok()
}

impl Site {
    pub(crate) async fn open(options: Options) -> Result<Self> {
        let mut command = Command::new(options.programs.join("examples/mock_provider"));
        command.args(["--listen", "127.0.0.1:0", "--workers", "1"]);
        command.args(["--chunks", "1"]);
        let provider = Process::start(command, &options.folder.join("provider.log")).await?;
        Ok(Self {
            prefix: format!("drill-{}", Uuid::new_v4().simple()),
            provider_url: format!("http://{}/v1", provider.address),
            options,
            _provider: provider,
        })
    }

    /// Starts a gateway, with settings of its own beside those that all share.
    pub(crate) async fn replica(&self, name: &str, settings: &[(&str, &str)]) -> Result<Replica> {
        let mut command = Command::new(self.options.programs.join("llm-gateway"));
        let admin_key = Uuid::new_v4().to_string();
        command
            // A developer's .env is not for this.
            .current_dir(&self.options.folder)
            .env_clear()
            .envs([
                ("ADMIN_KEY", admin_key.as_str()),
                ("DATABASE_URL", &self.options.database_url),
                ("REDIS_URL", &self.options.redis_url),
                ("CACHE_PREFIX", &self.prefix),
                ("LISTEN_ADDR", "127.0.0.1:0"),
                ("DRAIN_DELAY", "0"),
                ("WORKERS", "2"),
            ])
            .envs(settings.iter().copied());
        Ok(Replica {
            process: Process::start(command, &self.log_of(name)).await?,
            admin_key,
            to_listener: None,
        })
    }

    /// Starts a gateway whose listening connection can be cut and frozen by itself.
    pub(crate) async fn replica_behind_cable(&self, name: &str) -> Result<Replica> {
        let cable = Cable::to(&self.options.database_url);
        let listen_url = cable.route(&self.options.database_url);
        let mut replica = self
            .replica(name, &[("DATABASE_LISTEN_URL", &listen_url)])
            .await?;
        replica.to_listener = Some(cable);
        Ok(replica)
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.options.folder.join(format!("{name}.log"))
    }

    /// Does something to a server, and waits until it is done.
    pub(crate) async fn act(&self, server: Server, act: Act) -> Result<()> {
        let server = match server {
            Server::Postgres => "postgres",
            Server::Redis => "redis",
        };
        let act = match act {
            Act::Kill => "kill",
            Act::Start => "start",
            Act::Freeze => "freeze",
            Act::Wake => "wake",
        };
        let mut command = Command::new(&self.options.servers);
        command.args([server, act]).stdin(Stdio::null());
        match command.status().await?.success() {
            true => Ok(()),
            false => Err(format!("{server} could not be told to {act}").into()),
        }
    }

    /// A connection to the database, past every gateway.
    pub(crate) async fn database(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.options.database_url).await?)
    }

    /// Statements that the database has run since it started.
    pub(crate) async fn statements(&self) -> Result<i64> {
        let mut database = self.database().await?;
        let calls = sqlx::query_scalar(
            "SELECT coalesce(sum(calls), 0)::BIGINT FROM pg_stat_statements \
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        );
        Ok(calls.fetch_one(&mut database).await?)
    }

    /// The version that Redis's contents are of; `None` where they aren't whole.
    pub(crate) async fn version_in_redis(&self) -> Result<Option<i64>> {
        let client = redis::Client::open(self.options.redis_url.as_str())?;
        let mut redis = client.get_multiplexed_async_connection().await?;
        let mark: Option<String> = redis::cmd("GET")
            .arg(format!("{{{}}}:mark", self.prefix))
            .query_async(&mut redis)
            .await?;
        let version = mark.and_then(|mark| mark.split(':').nth(1)?.parse().ok());
        Ok(version)
    }

    pub(crate) async fn version_in_database(&self) -> Result<i64> {
        let version = sqlx::query_scalar("SELECT version FROM change_counter");
        Ok(version.fetch_one(&mut self.database().await?).await?)
    }

    /// Waits until Redis holds what the database holds.
    pub(crate) async fn redis_is_whole(&self) -> Result<()> {
        let newest = self.version_in_database().await?;
        until("Redis to be whole", async || {
            let version = self.version_in_redis().await;
            version.is_ok_and(|version| version >= Some(newest))
        })
        .await
    }
}

impl Replica {
    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// One admin call, on a connection of its own.
    pub(crate) async fn admin(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value)> {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let request = request(method, path, &self.admin_key, &body);
        let answer = Connection::to(self.address()).send(&request).await?;
        let value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok((answer.status, value))
    }

    async fn create(&self, path: &str, body: Value) -> Result<Value> {
        match self.admin("POST", path, body).await? {
            (201, created) => Ok(created),
            (status, answer) => Err(format!("POST {path}: {status} {answer}").into()),
        }
    }

    /// Registers the provider; answers its id.
    pub(crate) async fn register(&self, site: &Site) -> Result<String> {
        let provider = json!({
            "name": "mock", "kind": "openai", "api_key": "sk-drill", "base_url": site.provider_url,
        });
        Ok(text(
            &self.create("/admin/providers", provider).await?,
            "id",
        ))
    }

    /// Maps a model; answers its id.
    pub(crate) async fn map(&self, name: &str, provider: &str) -> Result<String> {
        let model = json!({"name": name, "provider_id": provider});
        Ok(text(&self.create("/admin/models", model).await?, "id"))
    }

    pub(crate) async fn issue(&self) -> Result<Key> {
        let issued = self.create("/admin/keys", json!({"name": "drill"})).await?;
        Ok(Key {
            id: text(&issued, "id"),
            key: text(&issued, "key"),
        })
    }

    /// The status of one request.
    pub(crate) async fn ask(&self, key: &str, model: &str) -> Result<u16> {
        let answer = Connection::to(self.address())
            .send(&chat(key, model))
            .await?;
        Ok(answer.status)
    }

    /// Whether it says of itself that it is ready, and not just degraded.
    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.admin("GET", "/readyz", Value::Null).await;
        answer.is_ok_and(|(status, body)| status == 200 && body["status"] == "ready")
    }

    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.child.id()
    }

    /// A body of an admin call, to be sent again and again.
    pub(crate) fn admin_request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        request(method, path, &self.admin_key, body)
    }
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Looks again and again until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        if Instant::now() > deadline {
            return Err(format!("waited in vain for {what}").into());
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
