//! `Site`: replicas with a database and a part of Redis of their own, each behind cables of its
//! own, and a provider that always answers.

use std::{collections::HashMap, env, sync::Arc};

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use serde_json::{Value, json};

use crate::cable::Cable;
use crate::support::{
    client::{Request, Response},
    gateway::TestGateway,
    provider::ScriptedProvider,
    script::Answer,
    soon,
    storage::TestStorage,
};

/// The model that every site serves.
pub(crate) const MODEL: &str = "m";

/// Replicas that share everything.
pub(crate) struct Site {
    pub(crate) provider: ScriptedProvider,
    pub(crate) storage: Arc<TestStorage>,
}

/// One gateway and its cables.
pub(crate) struct Replica {
    pub(crate) gateway: TestGateway,
    pub(crate) to_redis: Cable,
    pub(crate) to_database: Cable,
}

/// A key as it was issued.
pub(crate) struct Issued {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(TestStorage::postgres().await).await
    }

    /// On a database that is there already.
    pub(crate) async fn with(storage: TestStorage) -> Self {
        let provider = ScriptedProvider::start().await;
        provider.otherwise(|_| Answer::json(200, "{}"));
        Self {
            provider,
            storage: Arc::new(storage),
        }
    }

    /// A first replica that serves [`MODEL`].
    pub(crate) async fn serving(&self) -> Replica {
        let replica = self.replica(&[]).await;
        replica.gateway.serve(MODEL, &self.provider).await;
        replica
    }

    /// A replica, with some settings of its own.
    pub(crate) async fn replica(&self, settings: &[(&str, &str)]) -> Replica {
        let (to_redis, to_database) = self.cables();
        self.replica_behind(to_redis, to_database, settings).await
    }

    pub(crate) fn cables(&self) -> (Cable, Cable) {
        (
            Cable::to(&env::var("REDIS_URL").unwrap()),
            Cable::to(&self.storage.url()),
        )
    }

    pub(crate) async fn replica_behind(
        &self,
        to_redis: Cable,
        to_database: Cable,
        settings: &[(&str, &str)],
    ) -> Replica {
        let redis = to_redis.route(&env::var("REDIS_URL").unwrap());
        let database = to_database.route(&self.storage.url());
        let mut all = vec![("REDIS_URL", redis.as_str()), ("DATABASE_URL", &database)];
        all.extend(settings);
        let gateway = TestGateway::start_on(Arc::clone(&self.storage), &all).await;
        Replica {
            gateway,
            to_redis,
            to_database,
        }
    }

    pub(crate) fn prefix(&self) -> String {
        let environment = self.storage.environment();
        let found = environment
            .into_iter()
            .find(|(name, _)| *name == "CACHE_PREFIX");
        found.unwrap().1
    }

    /// Takes the database back to before its last change and without any key, as a backup would.
    pub(crate) async fn restore_without_keys(&self) {
        self.storage
            .execute("ALTER TABLE user_keys DISABLE TRIGGER ALL; DELETE FROM user_keys; UPDATE change_counter SET version = version - 1; DELETE FROM changes WHERE version > (SELECT version FROM change_counter); ALTER TABLE user_keys ENABLE TRIGGER ALL")
            .await;
    }

    /// A connection to Redis, past the cables, and the names of what is there.
    pub(crate) async fn redis(&self) -> Redis {
        let client = redis::Client::open(env::var("REDIS_URL").unwrap()).unwrap();
        self.redis_through(&client).await
    }

    /// The same, in another Redis.
    pub(crate) async fn redis_through(&self, client: &redis::Client) -> Redis {
        Redis {
            connection: client.get_multiplexed_async_connection().await.unwrap(),
            prefix: format!("{{{}}}", self.prefix()),
        }
    }
}

impl Issued {
    /// What the access log says of its requests.
    pub(crate) fn logged_as(&self, name: &str) -> String {
        format!("key_id={} key_name={name} ", self.id)
    }
}

impl Replica {
    pub(crate) async fn ask(&self, key: &str) -> Response {
        self.ask_for(key, MODEL).await
    }

    pub(crate) async fn ask_for(&self, key: &str, model: &str) -> Response {
        Request::post("/v1/chat/completions")
            .bearer(key)
            .value(&json!({"model": model, "messages": []}))
            .send_to(self.gateway.address())
            .await
    }

    pub(crate) async fn status(&self, key: &str) -> u16 {
        self.ask(key).await.status()
    }

    pub(crate) async fn issue(&self) -> Issued {
        let issued = self
            .gateway
            .admin()
            .post("/admin/keys", json!({"name": "k"}))
            .await;
        assert_eq!(issued.status(), 201, "{}", issued.text());
        Issued {
            id: issued.text_of("id"),
            key: issued.text_of("key"),
        }
    }

    pub(crate) async fn rename(&self, key: &Issued, name: &str) {
        let path = format!("/admin/keys/{}", key.id);
        let renamed = self.gateway.admin().put(&path, json!({"name": name})).await;
        assert_eq!(renamed.status(), 200);
    }

    pub(crate) async fn revoke(&self, key: &Issued) {
        let path = format!("/admin/keys/{}", key.id);
        assert_eq!(self.gateway.admin().delete(&path).await.status(), 204);
    }

    pub(crate) async fn readiness(&self) -> (u16, Value) {
        let answer = Request::get("/readyz")
            .send_to(self.gateway.address())
            .await;
        (answer.status(), answer.json())
    }

    /// Waits until a request with this key is logged under this name, which is written as the access log
    /// writes it.
    pub(crate) async fn calls(&self, key: &Issued, name: &str) {
        let fields = key.logged_as(name);
        soon(&format!("the key to be called {name}"), async {
            while !self.gateway.log().contains(&fields) {
                assert_eq!(self.status(&key.key).await, 200);
            }
        })
        .await;
    }

    /// Waits until `/readyz` has this status and, if one is given, says this word.
    pub(crate) async fn becomes(&self, status: u16, word: Option<&str>) {
        let change = async {
            loop {
                let (found, body) = self.readiness().await;
                if found == status && word.is_none_or(|word| body["status"] == word) {
                    return;
                }
            }
        };
        soon(&format!("readiness {status} {word:?}"), change).await;
    }

    /// Waits until a request with this key gets this status.
    pub(crate) async fn answers(&self, key: &str, status: u16) {
        let change = async { while self.status(key).await != status {} };
        soon(&format!("a request to get {status}"), change).await;
    }
}

/// Of a key that is in no database: its id, and its name.
const CALLER: &str = "00000000-0000-4000-8000-000000000000 forged";

/// Redis as an operator with `redis-cli` sees it.
pub(crate) struct Redis {
    pub(crate) connection: MultiplexedConnection,
    prefix: String,
}

impl Redis {
    pub(crate) fn name(&self, part: &str) -> String {
        format!("{}:{part}", self.prefix)
    }

    pub(crate) async fn mark(&mut self) -> Option<String> {
        let name = self.name("mark");
        self.connection.get(name).await.unwrap()
    }

    pub(crate) async fn set_mark(&mut self, mark: &str) {
        let name = self.name("mark");
        let () = self.connection.set(name, mark).await.unwrap();
        self.set_caller("mark", mark).await;
    }

    /// The hashes, sorted.
    pub(crate) async fn keys(&mut self) -> Vec<String> {
        let name = self.name("keys");
        let found = self.connection.smembers(name).await;
        let mut hashes: Vec<String> = found.unwrap_or_default();
        hashes.sort();
        hashes
    }

    /// The callers as hash, id and name, sorted; none unless they are those of the mark.
    pub(crate) async fn callers(&mut self) -> Vec<String> {
        let name = self.name("callers");
        let found: HashMap<String, String> = self.connection.hgetall(name).await.unwrap();
        if found.get("mark") != self.mark().await.as_ref() {
            return Vec::new();
        }
        let callers = found.iter().filter(|(hash, _)| *hash != "mark");
        let mut callers: Vec<_> = callers
            .map(|(hash, caller)| format!("{hash} {caller}"))
            .collect();
        callers.sort();
        callers
    }

    pub(crate) async fn set_caller(&mut self, hash: &str, caller: &str) {
        let name = self.name("callers");
        let () = self.connection.hset(name, hash, caller).await.unwrap();
    }

    pub(crate) async fn add_key(&mut self, hash: &str) {
        let name = self.name("keys");
        let () = self.connection.sadd(name, hash).await.unwrap();
        self.set_caller(hash, CALLER).await;
    }

    /// Runs the cache warmer's own script: adds a key to the contents that `from` marks, which are
    /// `stamp` then. Answers whether it did.
    pub(crate) async fn apply_key(&mut self, from: &str, stamp: &str, hash: &str) -> bool {
        let script = redis::Script::new(include_str!("../../src/storage/lua/apply.lua"));
        let mut call = script.prepare_invoke();
        for part in ["mark", "keys", "callers", "routes"] {
            call.key(self.name(part));
        }
        call.arg(from).arg(stamp).arg(&[1, 0, 0, 0]);
        call.arg(hash).arg(CALLER);
        call.invoke_async(&mut self.connection).await.unwrap()
    }

    /// Puts a text where something else belongs.
    pub(crate) async fn overwrite(&mut self, part: &str) {
        let name = self.name(part);
        let () = self.connection.set(name, "x").await.unwrap();
    }

    pub(crate) async fn remove_key(&mut self, hash: &str) {
        let name = self.name("keys");
        let () = self.connection.srem(name, hash).await.unwrap();
        self.remove_caller(hash).await;
    }

    pub(crate) async fn remove_caller(&mut self, hash: &str) {
        let name = self.name("callers");
        let () = self.connection.hdel(name, hash).await.unwrap();
    }

    /// The models that have a route, sorted.
    pub(crate) async fn models(&mut self) -> Vec<String> {
        let name = self.name("routes");
        let mut models: Vec<String> = self.connection.hkeys(name).await.unwrap();
        models.sort();
        models
    }

    pub(crate) async fn route(&mut self, model: &str) -> Value {
        let name = self.name("routes");
        let json: String = self.connection.hget(name, model).await.unwrap();
        serde_json::from_str(&json).unwrap()
    }

    /// Removes all that belongs to this site, as `FLUSHALL` would.
    pub(crate) async fn empty(&mut self) {
        let names = ["mark", "keys", "callers", "routes"].map(|part| self.name(part));
        let () = self.connection.del(&names).await.unwrap();
    }

    /// Waits until it holds just these keys.
    pub(crate) async fn comes_to_hold<'k>(&mut self, keys: impl IntoIterator<Item = &'k str>) {
        let expected = hashes(keys);
        let change = async { while self.keys().await != expected {} };
        soon("Redis to hold just the active keys", change).await;
    }

    /// Waits until there is a mark.
    pub(crate) async fn whole(&mut self) -> String {
        soon("Redis to be whole", async {
            loop {
                if let Some(mark) = self.mark().await {
                    return mark;
                }
            }
        })
        .await
    }
}

impl Redis {
    /// Waits until it is whole and holds just these keys.
    pub(crate) async fn holds(&mut self, keys: &[&str]) {
        let expected = hashes(keys.iter().copied());
        soon("Redis to hold what the database holds", async {
            while self.mark().await.is_none() || self.keys().await != expected {}
        })
        .await;
    }
}

/// What a key is stored as.
pub(crate) fn hash(key: &str) -> String {
    crate::support::http::sha256(key.as_bytes())
}

/// Hashes of keys, sorted.
pub(crate) fn hashes<'k>(keys: impl IntoIterator<Item = &'k str>) -> Vec<String> {
    let mut hashes: Vec<_> = keys.into_iter().map(hash).collect();
    hashes.sort();
    hashes
}
