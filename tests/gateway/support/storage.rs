//! The storage of one test: a database, and with PostgreSQL a part of Redis, that no other test
//! sees. `GATEWAY_TEST_STORAGE` says which kind: `sqlite` (the default) or `postgres`, which
//! takes its servers from `DATABASE_URL` and `REDIS_URL`. With `GATEWAY_TEST_POOLER` set to the
//! address of a pooler, PostgreSQL is reached through that. With `GATEWAY_TEST_EVIDENCE` set to a folder, what it held in
//! the end is kept there, for `tests/secrets`.

use std::{env, fs, path::PathBuf, thread};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, raw_sql,
    sqlite::SqliteConnectOptions,
};
use uuid::Uuid;

/// A database of the test's own. It is removed with this value.
#[derive(Debug)]
pub(crate) enum TestStorage {
    Sqlite {
        folder: PathBuf,
    },
    Postgres {
        server: String,
        name: String,
        redis: String,
        /// Somebody else made it, and removes it.
        is_given: bool,
    },
}

impl TestStorage {
    pub(crate) async fn new() -> Self {
        match env::var("GATEWAY_TEST_STORAGE").as_deref() {
            Err(_) | Ok("sqlite") => Self::Sqlite {
                folder: env::temp_dir().join(unique_name()),
            },
            Ok("postgres") => Self::postgres().await,
            Ok(other) => panic!("GATEWAY_TEST_STORAGE is {other}, not sqlite or postgres"),
        }
    }

    /// PostgreSQL and Redis, whatever `GATEWAY_TEST_STORAGE` says.
    pub(crate) async fn postgres() -> Self {
        let server = env::var("DATABASE_URL").expect("DATABASE_URL names a PostgreSQL");
        Self::postgres_at(server).await
    }

    /// The PostgreSQL of an address.
    pub(crate) async fn postgres_at(server: String) -> Self {
        let name = unique_name();
        let redis = env::var("REDIS_URL").expect("REDIS_URL names a Redis");
        run(&server, format!("CREATE DATABASE {name}")).await;
        Self::Postgres {
            server,
            name,
            redis,
            is_given: false,
        }
    }

    /// The variables that lead a gateway there.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Sqlite { .. } => vec![
                ("DATABASE_URL", self.url()),
                ("REDIS_URL", "none".to_owned()),
            ],
            Self::Postgres { name, redis, .. } => {
                let mut environment = match env::var("GATEWAY_TEST_POOLER") {
                    Ok(pooler) => vec![
                        ("DATABASE_URL", named(&pooler, name)),
                        ("DATABASE_LISTEN_URL", self.url()),
                    ],
                    Err(_) => vec![("DATABASE_URL", self.url())],
                };
                environment.push(("REDIS_URL", redis.clone()));
                environment.push(("CACHE_PREFIX", name.clone()));
                environment
            }
        }
    }

    /// Runs a statement by hand, as an operator would.
    pub(crate) async fn execute(&self, statement: &'static str) {
        match self {
            Self::Sqlite { folder } => {
                let options = SqliteConnectOptions::new().filename(folder.join("gateway.db"));
                let mut connection = options.connect().await.unwrap();
                connection.execute(statement).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Postgres { .. } => run(&self.url(), statement.to_owned()).await,
        }
    }

    /// All that the database holds, and with PostgreSQL Redis too, as whoever stole it would have it.
    pub(crate) async fn dump(&self) -> String {
        match self {
            Self::Sqlite { folder } => {
                let files = fs::read_dir(folder).unwrap();
                let contents = files.map(|file| fs::read(file.unwrap().path()).unwrap());
                let contents: Vec<_> = contents.collect();
                String::from_utf8_lossy(&contents.concat()).into_owned()
            }
            Self::Postgres { name, redis, .. } => {
                let dump = [
                    dump_tables(&self.url()).await,
                    dump_redis(redis, name).await,
                ];
                dump.concat()
            }
        }
    }

    /// What tells it from all others.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Sqlite { folder } => folder.file_name().unwrap().to_string_lossy().into_owned(),
            Self::Postgres { name, .. } => name.clone(),
        }
    }

    /// Keeps what it holds. The test's own runtime may be ending, so there is another one.
    fn keep(&self, file: PathBuf) {
        thread::scope(|scope| {
            let keeper = scope.spawn(|| {
                actix_rt::System::new().block_on(async {
                    fs::write(file, self.dump().await).unwrap();
                });
            });
            drop(keeper.join());
        });
    }

    fn was_used(&self) -> bool {
        match self {
            Self::Sqlite { folder } => folder.exists(),
            Self::Postgres { is_given, .. } => !is_given,
        }
    }

    /// The database's address.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { folder } => format!("sqlite://{}/gateway.db", folder.display()),
            Self::Postgres { server, name, .. } => named(server, name),
        }
    }
}

/// The address of one database of a server.
fn named(server: &str, name: &str) -> String {
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(name);
    url.to_string()
}

async fn dump_tables(url: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let mut dump = String::new();
    for table in tables {
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM \"{table}\" t")))
                .fetch_all(&mut connection)
                .await
                .unwrap();
        dump.push_str(&rows.join("\n"));
    }
    dump
}

async fn redis_keys(
    url: &str,
    prefix: &str,
) -> redis::RedisResult<(redis::aio::MultiplexedConnection, Vec<String>)> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut keys = redis::cmd("KEYS");
    let keys = keys.arg(format!("*{prefix}*"));
    let keys = keys.query_async(&mut connection).await?;
    Ok((connection, keys))
}

async fn empty_redis(url: &str, prefix: &str) -> redis::RedisResult<()> {
    let (mut connection, keys) = redis_keys(url, prefix).await?;
    match keys.is_empty() {
        true => Ok(()),
        false => {
            redis::cmd("DEL")
                .arg(keys)
                .query_async(&mut connection)
                .await
        }
    }
}

async fn dump_redis(url: &str, prefix: &str) -> String {
    let (mut connection, keys) = redis_keys(url, prefix).await.unwrap();
    let mut dump = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        let read = match kind.as_str() {
            "hash" => "HGETALL",
            "set" => "SMEMBERS",
            _ => "GET",
        };
        let value: redis::Value = redis::cmd(read)
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        dump.push_str(&format!("{key}\n{}\n", text_of(&value)));
    }
    dump
}

fn text_of(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Array(values) | redis::Value::Set(values) => {
            values.iter().map(text_of).collect::<Vec<_>>().join("\n")
        }
        redis::Value::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| text_of(key) + "\n" + &text_of(value))
            .collect::<Vec<_>>()
            .join("\n"),
        other => format!("{other:?}"),
    }
}

fn unique_name() -> String {
    format!("gateway_test_{}", Uuid::new_v4().simple())
}

async fn run(server: &str, statement: String) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    // Without parameters, several statements may stand in one text.
    connection
        .execute(raw_sql(AssertSqlSafe(statement)))
        .await
        .unwrap();
    connection.close().await.unwrap();
}

impl Drop for TestStorage {
    fn drop(&mut self) {
        if let Some(folder) = env::var_os("GATEWAY_TEST_EVIDENCE")
            && self.was_used()
            && !thread::panicking()
        {
            let file = format!("{}.stored", self.name());
            self.keep(PathBuf::from(folder).join(file));
        }
        match self {
            Self::Sqlite { folder } => drop(fs::remove_dir_all(folder)),
            Self::Postgres { is_given: true, .. } => {}
            Self::Postgres {
                server,
                name,
                redis,
                ..
            } => {
                let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let (server, name, redis) = (server.clone(), name.clone(), redis.clone());
                // The test's own runtime may be ending, and a `drop` can't wait on it anyway.
                let cleaner = thread::spawn(move || {
                    actix_rt::System::new().block_on(async {
                        run(&server, statement).await;
                        // A Redis that is gone has nothing left.
                        drop(empty_redis(&redis, &name).await);
                    });
                });
                drop(cleaner.join());
            }
        }
    }
}
