//! `Servers`: a PostgreSQL and a Redis of the test's own, which it can strike. They come from
//! `scripts/own-servers.sh` and end with this value, or with the test's process.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use ::redis::{AsyncCommands as _, aio::MultiplexedConnection, pipe};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// As `scripts/services.sh` names it. Everything in Redis begins with it too.
pub(crate) const DATABASE: &str = "gateway";
const PREFIX: &str = "{gateway}";
/// Two tests at once would install missing programs twice.
static STARTING: Mutex<()> = Mutex::new(());

pub(crate) struct Servers {
    folder: PathBuf,
    holder: Child,
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
}

/// Keys and models as one of the two holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// `epoch:version`
    pub(crate) stamp: String,
    /// Hashes of active keys, sorted.
    pub(crate) keys: Vec<String>,
    /// Hash, id and name of active keys, sorted.
    callers: Vec<String>,
    /// Models that have a route, sorted.
    pub(crate) models: Vec<String>,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let _starting = STARTING.lock().unwrap_or_else(|error| error.into_inner());
        let folder = env::temp_dir().join(format!("gateway_faults_{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        let mut holder = script(&folder)
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let mut address = || match lines.next() {
            Some(line) => line.unwrap(),
            None => panic!("no servers: scripts/own-servers.sh up tells why"),
        };
        Self {
            database_url: address(),
            redis_url: address(),
            folder,
            holder,
        }
    }

    /// For what belongs to one test alone.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `postgres` or `redis`, and what to do to it.
    pub(crate) async fn strike(&self, server: &str, act: &str) {
        let mut script = tokio::process::Command::from(script(&self.folder));
        let striking = script.args([server, act]).stdin(Stdio::null()).output();
        let done = striking.await.unwrap();
        assert!(
            done.status.success(),
            "{server} {act}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// A connection past every cable.
    pub(crate) async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.unwrap()
    }

    /// A connection past every cable.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        let client = ::redis::Client::open(self.redis_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) async fn in_database(&self) -> Contents {
        let mut connection = self.database().await;
        // One statement sees one moment.
        let (stamp, keys, callers, models) = sqlx::query_as(
            "SELECT epoch || ':' || version, \
             ARRAY(SELECT key_hash FROM user_keys WHERE is_active ORDER BY 1), \
             ARRAY(SELECT key_hash || ' ' || id || ' ' || name FROM user_keys WHERE is_active ORDER BY 1), \
             ARRAY(SELECT models.name FROM models JOIN providers ON providers.id = provider_id \
                   WHERE models.is_active AND providers.is_active ORDER BY 1) \
             FROM change_counter",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        Contents {
            stamp,
            keys,
            callers,
            models,
        }
    }

    /// What Redis holds, with an empty stamp where it has no mark, or callers of another one.
    pub(crate) async fn in_redis(&self) -> Contents {
        let mut question = pipe();
        question
            .atomic()
            .get(format!("{PREFIX}:mark"))
            .smembers(format!("{PREFIX}:keys"))
            .hgetall(format!("{PREFIX}:callers"))
            .hkeys(format!("{PREFIX}:routes"));
        type Told = (
            Option<String>,
            Vec<String>,
            HashMap<String, String>,
            Vec<String>,
        );
        let (mark, mut keys, mut callers, mut models): Told =
            question.query_async(&mut self.redis().await).await.unwrap();
        keys.sort();
        models.sort();
        let callers_mark = callers.remove("mark");
        let mut callers: Vec<_> = callers
            .into_iter()
            .map(|(hash, caller)| format!("{hash} {caller}"))
            .collect();
        callers.sort();
        let mark = mark.filter(|mark| callers_mark.as_ref() == Some(mark));
        let mark = mark.unwrap_or_default();
        Contents {
            stamp: mark.split(':').take(2).collect::<Vec<_>>().join(":"),
            keys,
            callers,
            models,
        }
    }

    /// Whether Redis holds the hash of a key, readable or not.
    pub(crate) async fn redis_holds(&self, hash: &str) -> bool {
        let mut redis = self.redis().await;
        redis
            .sismember(format!("{PREFIX}:keys"), hash)
            .await
            .unwrap()
    }
}

fn script(folder: &Path) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/own-servers.sh"));
    command.env("SERVICES_FOLDER", folder);
    command
}

impl Drop for Servers {
    fn drop(&mut self) {
        // The holder waits for the end of its input.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
