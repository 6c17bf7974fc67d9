//! Tier 2, Redis: active key hashes in a SET, whose they are in a HASH, routes in a HASH, and a mark
//! that says which version of which database they are, and how many. Everything redis is here.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `{prefix}:mark` | string | `epoch:version:keys:routes` |
//! | `{prefix}:keys` | set | hashes of active keys, hexadecimal |
//! | `{prefix}:callers` | hash | of each of them, id and name of the key; and under `mark` the mark that these belong to |
//! | `{prefix}:routes` | hash | model name → route as JSON |
//! | `{prefix}:staged:…` | | a warm-up under way; expires by itself |
//!
//! The braces are meant: they put every key into one slot of a cluster.
//!
//! Programs that know nothing of the callers move the mark, and not that of the callers.

mod servers;

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    str::FromStr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use redis::{FromRedisValue, Pipeline, RedisError, Script, aio::MultiplexedConnection, pipe};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

use self::servers::Servers;
use super::{
    StorageError,
    database::{Batch, Stamp},
    metrics::RedisCounts,
};
use crate::{
    domain::{
        BaseUrl, Destination, KeyHash, KeyIdentity, Keyring, ListedModel, ProviderKind, Route,
        Timeouts,
    },
    metrics::Metrics,
    settings::CacheSettings,
};

/// The longest that one step of writing may take: a batch of a warm-up, a delta. Nobody's
/// request waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// When a warm-up that was abandoned is forgotten.
const STAGED_TTL_SECONDS: i64 = 600;

/// The field of the callers' mark. No hash is so short.
const CALLERS_MARK: &str = "mark";

type Result<T> = std::result::Result<T, RedisError>;

/// The shared hot cache. Look-ups use one connection, which only the cache warmer opens; when it
/// fails once it is put away, so that a hanging Redis costs one time limit and not one a request.
pub(crate) struct RedisCache {
    servers: Servers,
    counts: RedisCounts,
    keyring: Keyring,
    names: Names,
    timeout: Duration,
    lookups: RwLock<Option<Lookups>>,
    opened: AtomicU64,
    apply: Script,
    swap: Script,
    forget: Script,
}

/// The connection for look-ups, numbered so that a late failure of an old one isn't held against
/// a new one.
#[derive(Clone)]
struct Lookups {
    number: u64,
    connection: MultiplexedConnection,
}

/// A connection of the cache warmer's own, with time limits for writing.
#[derive(Clone)]
pub(crate) struct Writer(MultiplexedConnection);

/// The mark: which contents Redis holds, and how many, which tells when some were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) stamp: Stamp,
    keys: u64,
    routes: u64,
}

struct Names {
    mark: String,
    keys: String,
    callers: String,
    routes: String,
    staged: String,
}

/// Contents written aside, to be swapped in whole.
pub(crate) struct Staged {
    keys_name: String,
    callers_name: String,
    routes_name: String,
    keys: u64,
    routes: u64,
}

impl RedisCache {
    /// Opens nothing yet; `None` where Redis is switched off.
    pub(crate) fn new(
        settings: &CacheSettings,
        keyring: &Keyring,
        metrics: &Metrics,
    ) -> std::result::Result<Option<Self>, StorageError> {
        let Some(url) = &settings.redis_url else {
            return Ok(None);
        };
        let names = Names::new(&settings.prefix);
        let counts = RedisCounts::new(metrics);
        Ok(Some(Self {
            servers: Servers::new(
                url,
                settings,
                names.mark.clone(),
                counts.connections.clone(),
            )?,
            counts,
            keyring: keyring.clone(),
            names,
            timeout: settings.timeout,
            lookups: RwLock::new(None),
            opened: AtomicU64::new(0),
            apply: Script::new(include_str!("lua/apply.lua")),
            swap: Script::new(include_str!("lua/swap.lua")),
            forget: Script::new(include_str!("lua/forget.lua")),
        }))
    }

    /// Which active key has a hash. `None`: Redis can't be relied on now.
    pub(super) async fn key(&self, hash: KeyHash) -> Option<(Stamp, Option<KeyIdentity>)> {
        let hash = hash.to_hex();
        let mut question = pipe();
        question
            .atomic()
            .get(&self.names.mark)
            .scard(&self.names.keys)
            .sismember(&self.names.keys, &hash)
            .hmget(&self.names.callers, &[CALLERS_MARK, &hash]);
        type Told = (Option<String>, u64, bool, (Option<String>, Option<String>));
        let (marked, count, is_active, (callers_marked, entry)): Told = self.ask(&question).await?;
        let mark = marked.as_ref()?.parse::<Mark>().ok()?;
        let identity = match is_active {
            true if callers_marked == marked => Some(identity_from_text(&entry?)?),
            true => return None,
            false => None,
        };
        (mark.keys == count).then_some((mark.stamp, identity))
    }

    /// The route of a model. `None`: Redis can't be relied on now.
    pub(super) async fn route(&self, model: &str) -> Option<(Stamp, Option<Route>)> {
        let mut question = pipe();
        question
            .atomic()
            .get(&self.names.mark)
            .hlen(&self.names.routes)
            .hget(&self.names.routes, model);
        let (mark, count, route): (Option<String>, u64, Option<String>) =
            self.ask(&question).await?;
        let mark = mark?.parse::<Mark>().ok()?;
        let route = match route {
            Some(json) => Some(route_from_json(&json, &self.keyring)?),
            None => None,
        };
        (mark.routes == count).then_some((mark.stamp, route))
    }

    /// Every model that has a route, by name. `None`: Redis can't be relied on now.
    pub(super) async fn listed_models(&self) -> Option<(Stamp, Vec<ListedModel>)> {
        let mut question = pipe();
        question
            .atomic()
            .get(&self.names.mark)
            .hgetall(&self.names.routes);
        let (mark, routes): (Option<String>, HashMap<String, String>) = self.ask(&question).await?;
        let mark = mark?.parse::<Mark>().ok()?;
        let is_whole = mark.routes == routes.len() as u64;
        let models = routes.into_iter().map(|(name, json)| listed(name, &json));
        let mut models: Vec<_> = models.collect::<Option<_>>()?;
        models.sort_by(|one, other| one.name.cmp(&other.name));
        is_whole.then_some((mark.stamp, models))
    }

    /// One round trip, within `CACHE_TIMEOUT`; the commands run as one step.
    async fn ask<T: FromRedisValue>(&self, question: &Pipeline) -> Option<T> {
        let mut lookups = self.lookups()?;
        let answer = timeout(
            self.timeout,
            question.query_async::<T>(&mut lookups.connection),
        )
        .await;
        match answer {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => self.put_away(lookups.number, &error),
            Err(_) => self.put_away(lookups.number, &"no answer in time"),
        }
        self.counts.lookup_errors.inc();
        None
    }

    fn lookups(&self) -> Option<Lookups> {
        let lookups = self.lookups.read().unwrap_or_else(PoisonError::into_inner);
        lookups.clone()
    }

    fn put_away(&self, number: u64, reason: &dyn fmt::Display) {
        let mut lookups = self.lookups.write().unwrap_or_else(PoisonError::into_inner);
        if lookups.as_ref().is_some_and(|found| found.number == number) {
            *lookups = None;
            log::debug!("redis: look-ups go to the database now ({reason})");
        }
    }

    /// What is counted of it.
    pub(super) fn counts(&self) -> &RedisCounts {
        &self.counts
    }

    /// The longest that a look-up may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether look-ups are sent to Redis at all.
    pub(crate) fn is_connected(&self) -> bool {
        self.lookups().is_some()
    }

    /// Look-ups go to the database until [`RedisCache::open_lookups`] succeeds.
    pub(crate) fn close_lookups(&self, reason: &dyn fmt::Display) {
        if let Some(lookups) = self.lookups() {
            self.put_away(lookups.number, reason);
        }
    }

    /// Sends look-ups to Redis from now on.
    pub(crate) async fn open_lookups(&self) -> Result<()> {
        if self.is_connected() {
            return Ok(());
        }
        let lookups = Lookups {
            number: self.opened.fetch_add(1, Ordering::Relaxed),
            connection: self.servers.connect(self.timeout).await?,
        };
        *self.lookups.write().unwrap_or_else(PoisonError::into_inner) = Some(lookups);
        log::debug!("redis: look-ups go to Redis");
        Ok(())
    }

    /// A connection for writing.
    pub(crate) async fn writer(&self) -> Result<Writer> {
        self.servers.connect(WRITE_TIMEOUT).await.map(Writer)
    }

    /// The mark, if there is one that can be read. An answer so late that a look-up would have
    /// given up closes look-ups at once: the cache warmer finds out more often than requests do.
    pub(crate) async fn mark(&self, writer: &mut Writer) -> Result<Option<Mark>> {
        let mut question = pipe();
        question
            .atomic()
            .get(&self.names.mark)
            .scard(&self.names.keys)
            .hlen(&self.names.routes)
            .hlen(&self.names.callers)
            .hget(&self.names.callers, CALLERS_MARK);
        type Told = (Option<String>, u64, u64, u64, Option<String>);
        let asking = question.query_async::<Told>(&mut writer.0);
        let mut asking = pin!(asking);
        let answer = match timeout(self.timeout, &mut asking).await {
            Ok(answer) => answer,
            Err(_) => {
                self.close_lookups(&"no answer in time");
                asking.await
            }
        };
        let (marked, keys, routes, callers, callers_marked) = match answer {
            // Somebody put something else under one of our names; a warm-up replaces it.
            Err(error) if is_wrong_type(&error) => return Ok(None),
            answer => answer?,
        };
        let mark = marked.as_ref().and_then(|text| text.parse::<Mark>().ok());
        let callers_are_whole = callers == keys + 1 && callers_marked == marked;
        Ok(mark.filter(|mark| mark.keys == keys && mark.routes == routes && callers_are_whole))
    }

    /// Applies a delta that was read after `from`, if Redis is still at `from`. `false`: it isn't.
    pub(crate) async fn apply(
        &self,
        writer: &mut Writer,
        from: &Mark,
        stamp: Stamp,
        keys: &[(KeyHash, Option<KeyIdentity>)],
        routes: &[(String, Option<Route>)],
    ) -> Result<bool> {
        let (active, removed): (Vec<_>, Vec<_>) =
            keys.iter().partition(|(_, identity)| identity.is_some());
        let (set, deleted): (Vec<_>, Vec<_>) =
            routes.iter().partition(|(_, route)| route.is_some());
        let mut script = self.apply.prepare_invoke();
        script
            .key(&self.names.mark)
            .key(&self.names.keys)
            .key(&self.names.callers)
            .key(&self.names.routes)
            .arg(from.to_string())
            .arg(show(&stamp))
            .arg(active.len())
            .arg(removed.len())
            .arg(set.len())
            .arg(deleted.len());
        for (hash, identity) in &active {
            if let Some(identity) = identity {
                script.arg(hash.to_hex()).arg(identity_to_text(identity));
            }
        }
        for (hash, _) in &removed {
            script.arg(hash.to_hex());
        }
        for (model, route) in &set {
            if let Some(route) = route {
                script.arg(model).arg(route_to_json(route));
            }
        }
        for (model, _) in &deleted {
            script.arg(model);
        }
        script.invoke_async(&mut writer.0).await
    }

    /// Takes an unusable mark away, so that nobody reads what it marks.
    pub(crate) async fn forget(&self, writer: &mut Writer, mark: &Mark) -> Result<()> {
        self.forget
            .key(&self.names.mark)
            .arg(mark.to_string())
            .invoke_async(&mut writer.0)
            .await
    }

    /// Writes a dump aside, batch by batch as it comes.
    pub(crate) async fn stage(
        &self,
        writer: &mut Writer,
        mut batches: mpsc::Receiver<Batch>,
    ) -> Result<Staged> {
        let staged_as = format!("{}:{}", self.names.staged, Uuid::new_v4());
        let mut staged = Staged {
            keys_name: format!("{staged_as}:keys"),
            callers_name: format!("{staged_as}:callers"),
            routes_name: format!("{staged_as}:routes"),
            keys: 0,
            routes: 0,
        };
        while let Some(batch) = batches.recv().await {
            staged.write(writer, batch).await?;
        }
        Ok(staged)
    }

    /// Swaps staged contents in. `false`: newer ones are there, and they stay.
    pub(crate) async fn swap(
        &self,
        writer: &mut Writer,
        staged: Staged,
        stamp: Stamp,
    ) -> Result<bool> {
        let swapped: bool = self
            .swap
            .key(&self.names.mark)
            .key(&self.names.keys)
            .key(&self.names.callers)
            .key(&self.names.routes)
            .key(&staged.keys_name)
            .key(&staged.callers_name)
            .key(&staged.routes_name)
            .key(format!("{}:old", staged.keys_name))
            .key(format!("{}:old", staged.callers_name))
            .key(format!("{}:old", staged.routes_name))
            .arg(stamp.epoch.to_string())
            .arg(stamp.version)
            .arg(staged.keys)
            .arg(staged.routes)
            .invoke_async(&mut writer.0)
            .await?;
        if !swapped {
            staged.discard(writer).await?;
        }
        Ok(swapped)
    }
}

/// Of any command of a pipeline.
fn is_wrong_type(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors().unwrap_or_default();
    errors.iter().any(|(_, error)| error.code() == "WRONGTYPE")
}

impl Staged {
    async fn write(&mut self, writer: &mut Writer, batch: Batch) -> Result<()> {
        let mut commands = pipe();
        match batch {
            Batch::Keys(keys) if !keys.is_empty() => {
                self.keys += keys.len() as u64;
                let callers: Vec<_> = keys
                    .into_iter()
                    .map(|(hash, identity)| (hash.to_hex(), identity_to_text(&identity)))
                    .collect();
                let hashes: Vec<_> = callers.iter().map(|(hash, _)| hash).collect();
                commands
                    .sadd(&self.keys_name, hashes)
                    .ignore()
                    .expire(&self.keys_name, STAGED_TTL_SECONDS)
                    .ignore()
                    .hset_multiple(&self.callers_name, &callers)
                    .ignore()
                    .expire(&self.callers_name, STAGED_TTL_SECONDS)
                    .ignore();
            }
            Batch::Routes(routes) if !routes.is_empty() => {
                self.routes += routes.len() as u64;
                let fields: Vec<_> = routes
                    .into_iter()
                    .map(|(model, route)| (model, route_to_json(&route)))
                    .collect();
                commands
                    .hset_multiple(&self.routes_name, &fields)
                    .ignore()
                    .expire(&self.routes_name, STAGED_TTL_SECONDS)
                    .ignore();
            }
            _ => return Ok(()),
        }
        commands.query_async(&mut writer.0).await
    }

    async fn discard(self, writer: &mut Writer) -> Result<()> {
        pipe()
            .unlink(&[self.keys_name, self.callers_name, self.routes_name])
            .ignore()
            .query_async(&mut writer.0)
            .await
    }
}

impl Names {
    fn new(prefix: &str) -> Self {
        let name = |part: &str| format!("{{{prefix}}}:{part}");
        Self {
            mark: name("mark"),
            keys: name("keys"),
            callers: name("callers"),
            routes: name("routes"),
            staged: name("staged"),
        }
    }
}

fn show(stamp: &Stamp) -> String {
    format!("{}:{}", stamp.epoch, stamp.version)
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", show(&self.stamp), self.keys, self.routes)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut parts = text.split(':');
        let number = |part: Option<&str>| part.and_then(|text| text.parse::<u64>().ok());
        let epoch = parts.next().and_then(|text| Uuid::try_parse(text).ok());
        let mark = Self {
            stamp: Stamp {
                epoch: epoch.ok_or(())?,
                version: number(parts.next())
                    .and_then(|version| i64::try_from(version).ok())
                    .ok_or(())?,
            },
            keys: number(parts.next()).ok_or(())?,
            routes: number(parts.next()).ok_or(())?,
        };
        parts.next().is_none().then_some(mark).ok_or(())
    }
}

/// As it is in Redis: id, space, name. Anything else is an entry of another form, and as good as a
/// Redis that can't be asked.
fn identity_to_text(identity: &KeyIdentity) -> String {
    format!("{} {}", identity.id, identity.name())
}

fn identity_from_text(text: &str) -> Option<KeyIdentity> {
    let (id, name) = text.split_once(' ')?;
    Some(KeyIdentity::new(Uuid::try_parse(id).ok()?, name))
}

/// The form of [`StoredRoute`]. To be raised where an older program's entry would make a request
/// other than it has to be: replicas of two versions share Redis during an upgrade, and what one
/// of them doesn't know of, it doesn't write. An entry of another form is as good as a Redis that
/// can't be asked: the database is.
const FORM: u32 = 2;

/// A route as it travels to Redis and back. The provider's key is among it as the database has it:
/// sealed, where it is sealed there.
#[derive(Serialize, Deserialize)]
struct StoredRoute {
    #[serde(default)]
    form: u32,
    #[serde(default)]
    provider_id: Uuid,
    provider_model: String,
    provider_name: String,
    kind: ProviderKind,
    base_url: String,
    api_key: String,
    #[serde(default)]
    headers: String,
    #[serde(default)]
    timeouts_ms: [Option<u64>; 3],
    #[serde(default)]
    created_at: DateTime<Utc>,
}

fn route_to_json(route: &Route) -> String {
    let provider = &route.provider;
    let stored = StoredRoute {
        form: FORM,
        provider_id: provider.id,
        provider_model: route.provider_model.clone(),
        provider_name: provider.name.clone(),
        kind: provider.kind,
        base_url: provider.base_url.to_string(),
        api_key: provider.api_key.stored().to_owned(),
        headers: provider.headers.stored().to_owned(),
        timeouts_ms: [
            provider.timeouts.connect,
            provider.timeouts.response,
            provider.timeouts.idle,
        ]
        .map(|limit| limit.and_then(|limit| u64::try_from(limit.as_millis()).ok())),
        created_at: route.created_at,
    };
    // A struct of strings always serialises; an empty text would read back as "not whole".
    serde_json::to_string(&stored).unwrap_or_default()
}

/// What a list shows of a route. Its key stays as it is, sealed.
fn listed(name: String, json: &str) -> Option<ListedModel> {
    let stored: StoredRoute = serde_json::from_str(json).ok()?;
    (stored.form == FORM).then_some(ListedModel {
        name,
        kind: stored.kind,
        created_at: stored.created_at,
    })
}

fn route_from_json(json: &str, keyring: &Keyring) -> Option<Route> {
    let stored: StoredRoute = serde_json::from_str(json).ok()?;
    if stored.form != FORM {
        return None;
    }
    let [connect, response, idle] = stored.timeouts_ms.map(|ms| ms.map(Duration::from_millis));
    let provider = Destination {
        id: stored.provider_id,
        name: stored.provider_name,
        kind: stored.kind,
        base_url: BaseUrl::parse(&stored.base_url).ok()?,
        api_key: keyring.open(stored.provider_id, stored.api_key),
        headers: keyring.open(stored.provider_id, stored.headers),
        timeouts: Timeouts {
            connect,
            response,
            idle,
        },
    };
    Some(Route {
        provider: Arc::new(provider),
        provider_model: stored.provider_model,
        created_at: stored.created_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FixedHeaders, Sealed, Secret};

    #[test]
    fn a_mark_reads_back_and_anything_else_does_not() {
        let text = "6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e:12:3:4";
        let mark: Mark = text.parse().unwrap();
        assert_eq!(mark.to_string(), text);
        for bad in ["", "x:1:2:3", &text[..40], &format!("{text}:5"), "::::"] {
            assert!(bad.parse::<Mark>().is_err(), "{bad} was read");
        }
    }

    #[test]
    fn an_identity_reads_back_and_anything_else_does_not() {
        for name in ["k", "two words ", "two\nlines", "通义", ""] {
            let identity = KeyIdentity::new(Uuid::now_v7(), name);
            let text = identity_to_text(&identity);
            assert_eq!(identity_from_text(&text), Some(identity));
        }
        for other in ["", " ", "k", "2 k", r#"{"form":2}"#] {
            assert_eq!(identity_from_text(other), None);
        }
    }

    #[test]
    fn a_route_reads_back() {
        let id = Uuid::now_v7();
        let provider = Destination {
            id,
            name: "Ali \"Cloud\"".to_owned(),
            kind: ProviderKind::OPENAI,
            base_url: ProviderKind::OPENAI.default_base_url().unwrap(),
            api_key: Sealed::new(id, Secret::new("sk-1"), None),
            headers: Sealed::new(
                id,
                FixedHeaders::parse([("x-title", "a \"b\"")]).unwrap(),
                None,
            ),
            timeouts: Timeouts {
                connect: Some(Duration::from_millis(5)),
                response: None,
                idle: Some(Timeouts::LONGEST),
            },
        };
        let route = Route {
            provider: Arc::new(provider),
            provider_model: "qwen-max".to_owned(),
            created_at: Utc::now(),
        };
        let keyring = Keyring::default();
        let json = route_to_json(&route);
        assert_eq!(route_from_json(&json, &keyring), Some(route));
        assert_eq!(route_from_json("", &keyring), None);
    }

    #[test]
    fn a_route_of_another_form_is_not_believed() {
        let written_before_there_were_forms = r#"{"provider_model":"m","provider_name":"p",
            "kind":"openai","base_url":"https://api.openai.com/v1","api_key":"sk-1"}"#;
        let keyring = Keyring::default();
        assert_eq!(
            route_from_json(written_before_there_were_forms, &keyring),
            None
        );
    }

    #[test]
    fn every_name_is_in_one_slot_of_a_cluster() {
        let names = Names::new("llmgw");
        assert_eq!(names.mark, "{llmgw}:mark");
        for name in [names.keys, names.callers, names.routes, names.staged] {
            assert!(name.starts_with("{llmgw}:"));
        }
    }
}
