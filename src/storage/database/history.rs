//! The change log, and the contents at one moment.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Batch, Delta, Entry, Result, Stamp, StorageError, for_every_driver,
    rows::{self, IdentityRow},
    sql::{PATIENCE, failure, unavailable, within},
};
use crate::domain::{KeyHash, KeyIdentity, Route};

/// A longer delta is dearer than reading everything again.
const LONGEST_DELTA: i64 = 5_000;
/// How many versions of the log are kept: what a replica can sleep through without a warm-up.
const KEPT_VERSIONS: i64 = 100_000;
/// Versions forgotten in one statement, which must come to its end in time.
const FORGOTTEN_AT_ONCE: i64 = 5_000;
/// The counter's epoch and version, and of one entry of the log its version, kind and name.
type LogRow = (Uuid, i64, Option<i64>, Option<String>, Option<String>);

/// Rows of a dump that travel together.
const BATCH: usize = 1_000;

for_every_driver! {; impl {
    pub(super) async fn read_stamp(&self, connection: &mut DB::Connection) -> Result<Stamp> {
        let (epoch, version) = self.query_as("SELECT epoch, version FROM change_counter")
            .fetch_one(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(Stamp { epoch, version })
    }

    pub(super) async fn replace_epoch(
        &self,
        connection: &mut DB::Connection,
        old: Uuid,
    ) -> Result<Stamp> {
        self.query("UPDATE change_counter SET epoch = $1 WHERE epoch = $2")
            .bind(Uuid::new_v4())
            .bind(old)
            .execute(&mut *connection)
            .await
            .map_err(failure::<DB>)?;
        self.read_stamp(connection).await
    }

    /// In one statement, because every replica waits for it after every change.
    pub(super) async fn read_log(
        &self,
        connection: &mut DB::Connection,
        version: i64,
    ) -> Result<(Stamp, Vec<Entry>)> {
        let rows: Vec<LogRow> = self.query_as(
            "SELECT n.epoch, n.version, c.version, c.kind, c.entry \
             FROM change_counter n LEFT JOIN changes c ON c.version > $1 \
             ORDER BY c.version LIMIT $2",
        )
        .bind(version)
        .bind(LONGEST_DELTA + 1)
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        let Some((epoch, newest, oldest, ..)) = rows.first() else {
            return Err(StorageError::Broken {
                reason: "database: change_counter is empty".to_owned(),
            });
        };
        let stamp = Stamp { epoch: *epoch, version: *newest };
        let is_told = *oldest == Some(version + 1) && rows.len() as i64 <= LONGEST_DELTA;
        if stamp.version == version {
            return Ok((stamp, Vec::new()));
        }
        if !is_told {
            return Ok((stamp, vec![Entry::Everything]));
        }
        let entries = rows.into_iter().filter_map(|(.., kind, entry)| kind.zip(entry));
        Ok((stamp, entries.map(rows::entry).collect::<Result<_>>()?))
    }

    /// To be called within a snapshot, or by a mutation, which holds the counter.
    pub(super) async fn read_delta(
        &self,
        snapshot: &mut DB::Connection,
        version: i64,
    ) -> Result<Delta> {
        let stamp = self.read_stamp(snapshot).await?;
        if stamp.version == version {
            return Ok(Delta::Entries { stamp, keys: Vec::new(), routes: Vec::new() });
        }
        if !self.is_told(snapshot, version).await? {
            return Ok(Delta::Everything(stamp));
        }
        let keys = self.changed_keys(snapshot, version).await?;
        let routes = self.changed_routes(snapshot, version).await?;
        Ok(Delta::Entries { stamp, keys, routes })
    }

    /// Whether the log can tell what changed after `version`.
    async fn is_told(&self, connection: &mut DB::Connection, version: i64) -> Result<bool> {
        let (length, oldest, all): (i64, i64, i64) = self.query_as(
            "SELECT count(*), coalesce(min(version), 0), count(CASE WHEN kind = 'all' THEN 1 END) \
             FROM changes WHERE version > $1",
        )
        .bind(version)
        .fetch_one(connection)
        .await
        .map_err(failure::<DB>)?;
        Ok(oldest == version + 1 && all == 0 && length <= LONGEST_DELTA)
    }

    async fn changed_keys(
        &self,
        connection: &mut DB::Connection,
        version: i64,
    ) -> Result<Vec<(KeyHash, Option<KeyIdentity>)>> {
        let changed = self.query_as::<(String, Option<Uuid>, Option<String>)>(
            "SELECT c.entry, k.id, k.name \
             FROM (SELECT DISTINCT entry FROM changes WHERE version > $1 AND kind = 'key') c \
             LEFT JOIN user_keys k ON k.key_hash = c.entry AND k.is_active",
        )
        .bind(version)
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        let now = |(hash, id, name): (String, Option<Uuid>, Option<String>)| {
            let active = id.zip(name).map(|(id, name)| KeyIdentity::new(id, &name));
            Ok((rows::hash(&hash)?, active))
        };
        changed.into_iter().map(now).collect()
    }

    async fn changed_routes(
        &self,
        connection: &mut DB::Connection,
        version: i64,
    ) -> Result<Vec<(String, Option<Route>)>> {
        let models = self.query_scalar::<String>(
            "SELECT DISTINCT entry FROM changes WHERE version > $1 AND kind = 'route'",
        )
        .bind(version)
        .fetch_all(&mut *connection)
        .await
        .map_err(failure::<DB>)?;
        let rows = self.routes_changed_since(connection, version).await?;
        let mut routes: HashMap<_, _> = rows
            .into_iter()
            .filter_map(|row| rows::readable_route(row, self.keyring()))
            .collect();
        let with_route = |model: String| {
            let route = routes.remove(&model);
            (model, route)
        };
        Ok(models.into_iter().map(with_route).collect())
    }

    /// To be called within a snapshot.
    pub(super) async fn dump_all(
        &self,
        snapshot: &mut DB::Connection,
        batches: &mpsc::Sender<Batch>,
    ) -> Result<Stamp> {
        let stamp = within(PATIENCE, self.read_stamp(snapshot)).await?;
        self.dump_routes(snapshot, batches).await?;
        self.dump_keys(snapshot, batches).await?;
        Ok(stamp)
    }

    async fn dump_keys(
        &self,
        connection: &mut DB::Connection,
        batches: &mpsc::Sender<Batch>,
    ) -> Result<()> {
        let mut stream =
            self.query_as::<IdentityRow>("SELECT key_hash, id, name FROM user_keys WHERE is_active")
                .fetch(connection);
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            within(PATIENCE, async {
                while batch.len() < BATCH {
                    let Some(row) = stream.try_next().await.map_err(failure::<DB>)? else { break };
                    batch.push(rows::identity(row)?);
                }
                Ok(())
            })
            .await?;
            let ended = batch.len() < BATCH;
            send(batches, Batch::Keys(batch)).await?;
            if ended {
                return Ok(());
            }
        }
    }

    async fn dump_routes(
        &self,
        connection: &mut DB::Connection,
        batches: &mpsc::Sender<Batch>,
    ) -> Result<()> {
        let routes = within(PATIENCE, self.all_routes(connection)).await?;
        for rows in routes.chunks(BATCH) {
            let readable = |row: &rows::RouteRow| rows::readable_route(row.clone(), self.keyring());
            let routes = rows.iter().filter_map(readable).collect();
            send(batches, Batch::Routes(routes)).await?;
        }
        Ok(())
    }

    /// Forgets the oldest versions that needn't be kept; answers whether there were any.
    pub(super) async fn forget_old_changes(&self, connection: &mut DB::Connection) -> Result<bool> {
        let forgotten = self.query_scalar::<i64>(
            "DELETE FROM changes WHERE version <= (SELECT version FROM change_counter) - $1 \
             AND version < (SELECT min(version) FROM changes) + $2 RETURNING version",
        )
            .bind(KEPT_VERSIONS)
            .bind(FORGOTTEN_AT_ONCE)
            .fetch_all(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(!forgotten.is_empty())
    }
}}

async fn send(batches: &mpsc::Sender<Batch>, batch: Batch) -> Result<()> {
    batches
        .send(batch)
        .await
        .map_err(|_| unavailable("whoever wanted the dump has gone"))
}
