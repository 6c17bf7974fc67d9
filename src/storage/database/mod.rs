//! Tier 3, the truth: one trait, two drivers. sqlx appears in this folder alone.

mod audit;
mod driver;
mod encryption;
mod history;
mod keys;
mod models;
mod postgres;
mod providers;
mod queries;
mod rows;
mod schema;
mod sql;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use uuid::Uuid;

use self::driver::for_every_driver;
pub use self::{
    encryption::{Resealed, Target},
    postgres::Listener,
};
use super::{StorageError, metrics::DatabaseCounts};
use crate::{
    domain::{
        Actor, AuditEntry, KeyHash, KeyIdentity, ListedModel, Model, ModelChange, Name, NewModel,
        NewProvider, Provider, ProviderChange, Route, UserKey,
    },
    metrics::Metrics,
    settings::{DatabaseSettings, DatabaseUrl},
};

/// What storage answers.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Which part of a list to read.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Only items older than this one; it need not exist any more.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: u32,
}

/// A point in the history of one database: everything up to version `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Names the database; a cache filled from another one is worth nothing.
    pub epoch: Uuid,
    /// The number of the newest change; 0 in a new database.
    pub version: i64,
}

impl Stamp {
    /// Whether whoever has this stamp knows all that `other` knows.
    pub fn covers(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.version >= other.version
    }
}

/// What a change is about, as the caches name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A user key.
    Key(KeyHash),
    /// The route of a model.
    Route(String),
    /// Anything: a list would have been too long.
    Everything,
}

/// A mutation that is durable.
#[derive(Debug)]
pub struct Committed<T> {
    /// The item as it is now.
    pub value: T,
    /// What the caches must hear.
    pub changes: Changes,
}

/// The part of the log that one mutation wrote.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The version that the mutation found. It held the counter, so nobody wrote in between.
    pub before: i64,
    /// What it changed, as that is at the version that it left.
    pub delta: Delta,
}

/// All that changed since some version, read at one snapshot.
#[derive(Clone, Debug)]
pub enum Delta {
    /// These entries did. Their present state: `None` where they are gone.
    Entries {
        /// The version of the snapshot.
        stamp: Stamp,
        /// Which key has each hash, if it is active.
        keys: Vec<(KeyHash, Option<KeyIdentity>)>,
        /// The route of each model.
        routes: Vec<(String, Option<Route>)>,
    },
    /// The log doesn't reach back so far, or says that anything may have.
    Everything(Stamp),
}

impl Delta {
    /// The version of the snapshot.
    pub fn stamp(&self) -> Stamp {
        match self {
            Self::Entries { stamp, .. } | Self::Everything(stamp) => *stamp,
        }
    }

    /// What to take out of a cache.
    pub fn entries(&self) -> Vec<Entry> {
        match self {
            Self::Everything(_) => vec![Entry::Everything],
            Self::Entries { keys, routes, .. } => {
                let keys = keys.iter().map(|(hash, _)| Entry::Key(*hash));
                let routes = routes.iter().map(|(model, _)| Entry::Route(model.clone()));
                keys.chain(routes).collect()
            }
        }
    }
}

/// A piece of a snapshot of everything, for filling a cache.
#[derive(Debug)]
pub enum Batch {
    /// Active keys by their hash.
    Keys(Vec<(KeyHash, KeyIdentity)>),
    /// Routes by the model's name.
    Routes(Vec<(String, Route)>),
}

/// A pool of connections at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Somebody has them.
    pub in_use: u32,
    /// Open, and waiting for somebody.
    pub idle: u32,
    /// `DATABASE_MAX_CONNECTIONS`
    pub most: u32,
}

/// The truth. Each call is bounded in time; a failure to reach the database is
/// [`StorageError::Unavailable`]. What changes something leaves a row of the audit in the same
/// transaction.
#[async_trait]
pub trait Database: Send + Sync {
    /// Creates what is missing and brings the tables to this program's version. To be called
    /// until it succeeds; before that every other call is refused. Safe beside other replicas.
    async fn prepare(&self) -> Result<()>;
    /// Which active keys have those of these hashes that one has; one statement.
    async fn active_keys(&self, hashes: &[KeyHash]) -> Result<Vec<(KeyHash, KeyIdentity)>>;
    /// The routes of those of these models that are active, and whose provider is; one statement.
    async fn routes(&self, models: &[String]) -> Result<Vec<(String, Route)>>;
    /// Every model that has a route, by name.
    async fn listed_models(&self) -> Result<Vec<ListedModel>>;

    /// The newest version.
    async fn stamp(&self) -> Result<Stamp>;
    /// Gives the database another epoch, because it went back in time: version numbers are about to
    /// be used a second time, and no cache may take the old ones for the new. Answers the stamp
    /// from now on; another replica may have done it already.
    async fn begin_epoch(&self, old: Uuid) -> Result<Stamp>;
    /// A connection that hears of commits. `None` where the database can't tell.
    async fn listen(&self) -> Result<Option<Listener>>;
    /// The names of what changed after `version`, in one statement.
    async fn entries_since(&self, version: i64) -> Result<(Stamp, Vec<Entry>)>;
    /// What changed after `version`, as it is now.
    async fn changes_since(&self, version: i64) -> Result<Delta>;
    /// Sends everything that the caches hold, at one snapshot, and answers its stamp. Ends early,
    /// with an error, when the receiver is gone.
    async fn dump(&self, batches: mpsc::Sender<Batch>) -> Result<Stamp>;
    /// Forgets all but the newest part of the log, and what of the audit is older than
    /// `AUDIT_RETENTION`, a batch at a time: it comes on however much there is.
    async fn prune(&self) -> Result<()>;

    /// Providers, newest first.
    async fn providers(&self, page: Page) -> Result<Vec<Provider>>;
    /// One provider.
    async fn provider(&self, id: Uuid) -> Result<Option<Provider>>;
    /// Registers a provider.
    async fn create_provider(&self, by: &Actor, new: NewProvider) -> Result<Committed<Provider>>;
    /// Changes a provider, and with it the routes of its models.
    async fn update_provider(
        &self,
        by: &Actor,
        id: Uuid,
        change: ProviderChange,
    ) -> Result<Option<Committed<Provider>>>;
    /// Deletes a provider that no model uses.
    async fn delete_provider(&self, by: &Actor, id: Uuid) -> Result<Option<Committed<()>>>;

    /// Models, newest first.
    async fn models(&self, page: Page) -> Result<Vec<Model>>;
    /// One model.
    async fn model(&self, id: Uuid) -> Result<Option<Model>>;
    /// Maps a model.
    async fn create_model(&self, by: &Actor, new: NewModel) -> Result<Committed<Model>>;
    /// Changes a mapping.
    async fn update_model(
        &self,
        by: &Actor,
        id: Uuid,
        change: ModelChange,
    ) -> Result<Option<Committed<Model>>>;
    /// Deletes a mapping.
    async fn delete_model(&self, by: &Actor, id: Uuid) -> Result<Option<Committed<()>>>;

    /// User keys, newest first.
    async fn keys(&self, page: Page) -> Result<Vec<UserKey>>;
    /// One user key.
    async fn key(&self, id: Uuid) -> Result<Option<UserKey>>;
    /// Stores a new key.
    async fn create_key(
        &self,
        by: &Actor,
        name: Name,
        hash: KeyHash,
        prefix: &str,
    ) -> Result<Committed<UserKey>>;
    /// Gives a key another name.
    async fn rename_key(
        &self,
        by: &Actor,
        id: Uuid,
        name: Name,
    ) -> Result<Option<Committed<UserKey>>>;
    /// Puts a new hash under an active key's id.
    async fn rotate_key(
        &self,
        by: &Actor,
        id: Uuid,
        hash: KeyHash,
        prefix: &str,
    ) -> Result<Option<Committed<UserKey>>>;
    /// Switches a key off for good; its row stays.
    async fn revoke_key(&self, by: &Actor, id: Uuid) -> Result<Option<Committed<()>>>;

    /// Who changed what, newest first.
    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>>;
    /// Seals everything anew, in one transaction. To be called instead of [`Database::prepare`].
    async fn rotate_encryption_key(&self, target: Target) -> Result<Resealed>;

    /// How much of the pool is in use now.
    fn connections(&self) -> Connections;
    /// Closes every connection.
    async fn close(&self);
}

/// Picks the driver by the address. Opens nothing yet. `metrics` shows what fails.
///
/// # Errors
/// The address can't be used, whatever the state of the network.
pub fn connect(settings: &DatabaseSettings, metrics: &Metrics) -> Result<Arc<dyn Database>> {
    let counts = DatabaseCounts::new(metrics);
    Ok(match &settings.url {
        DatabaseUrl::Postgres(_) => Arc::new(postgres::open(settings, counts)?),
        DatabaseUrl::Sqlite(path) => Arc::new(sqlite::open(path, settings, counts)?),
    })
}
