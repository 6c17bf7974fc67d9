//! The one implementation of [`Database`], for both drivers: time limits and transactions here, the
//! statements beside it by what they are about.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Batch, Committed, Connections, Database, Delta, Entry, Listener, Page, Resealed, Result, Stamp,
    StorageError, Target, for_every_driver,
    sql::{PATIENCE, failure, now, unavailable, within},
};
use crate::domain::{
    Actor, AuditEntry, Deed, KeyHash, KeyIdentity, ListedModel, Model, ModelChange, Name, NewModel,
    NewProvider, Provider, ProviderChange, Route, UserKey,
};
use sqlx::Connection;

/// A mutation that always has something to do.
fn done<T>(committed: Option<Committed<T>>) -> Result<Committed<T>> {
    committed.ok_or_else(|| StorageError::Broken {
        reason: "database: a new item is missing".to_owned(),
    })
}

for_every_driver! { async_trait; impl (Database) {
    async fn prepare(&self) -> Result<()> {
        DB::prepare(self).await?;
        self.check_schema().await?;
        self.settle_encryption().await?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    async fn active_keys(&self, hashes: &[KeyHash]) -> Result<Vec<(KeyHash, KeyIdentity)>> {
        let limit = self.settings.timeout;
        self.statements(limit, async |connection| self.active_among(connection, hashes).await).await
    }

    async fn routes(&self, models: &[String]) -> Result<Vec<(String, Route)>> {
        let limit = self.settings.timeout;
        self.statements(limit, async |connection| self.routes_among(connection, models).await).await
    }

    async fn listed_models(&self) -> Result<Vec<ListedModel>> {
        let limit = self.settings.timeout;
        self.statements(limit, async |connection| self.models_with_routes(connection).await).await
    }

    async fn stamp(&self) -> Result<Stamp> {
        let limit = self.settings.timeout;
        self.statements(limit, async |connection| self.read_stamp(connection).await).await
    }

    async fn begin_epoch(&self, old: Uuid) -> Result<Stamp> {
        self.statements(PATIENCE, async |connection| self.replace_epoch(connection, old).await).await
    }

    async fn listen(&self) -> Result<Option<Listener>> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(unavailable("the database has not been reached yet"));
        }
        self.counts.watch(within(self.settings.timeout, DB::listen(self)).await)
    }

    async fn entries_since(&self, version: i64) -> Result<(Stamp, Vec<Entry>)> {
        let limit = self.settings.timeout;
        self.statements(limit, async |connection| self.read_log(connection, version).await).await
    }

    async fn changes_since(&self, version: i64) -> Result<Delta> {
        self.with(self.settings.timeout, async |connection| {
            let begun = connection.begin_with(DB::BEGIN_SNAPSHOT).await;
            let mut snapshot = begun.map_err(failure::<DB>)?;
            let delta = self.read_delta(&mut snapshot, version).await?;
            snapshot.commit().await.map_err(failure::<DB>)?;
            Ok(delta)
        })
        .await
    }

    async fn dump(&self, batches: mpsc::Sender<Batch>) -> Result<Stamp> {
        // Each step has its time limit; the whole may take as long as there is something to send.
        let dump = async {
            let mut lease = self.lease().await?;
            let begin = async {
                let begun = lease.begin_with(DB::BEGIN_SNAPSHOT).await;
                begun.map_err(failure::<DB>)
            };
            let mut snapshot = within(PATIENCE, begin).await?;
            let stamp = self.dump_all(&mut snapshot, &batches).await?;
            let commit = async { snapshot.commit().await.map_err(failure::<DB>) };
            within(PATIENCE, commit).await?;
            lease.done();
            Ok(stamp)
        };
        self.counts.watch(dump.await)
    }

    async fn prune(&self) -> Result<()> {
        while self.statements(PATIENCE, async |connection| self.forget_old_changes(connection).await).await? {}
        while self.statements(PATIENCE, async |connection| self.forget_old_audit(connection).await).await? {}
        Ok(())
    }

    async fn providers(&self, page: Page) -> Result<Vec<Provider>> {
        self.statements(PATIENCE, async |connection| self.list_providers(connection, page).await).await
    }

    async fn provider(&self, id: Uuid) -> Result<Option<Provider>> {
        self.statements(PATIENCE, async |connection| self.find_provider(connection, id).await).await
    }

    async fn create_provider(
        &self,
        by: &Actor,
        new: NewProvider,
    ) -> Result<Committed<Provider>> {
        let created = self.mutate(by, async |transaction| {
            let id = Uuid::now_v7();
            let sealing = self.sealing(transaction).await?;
            let provider = Provider::new(id, new, sealing, now())?;
            self.insert_provider(transaction, &provider).await?;
            let deed = Deed::new("create", "provider", id, provider.name.as_str());
            Ok(Some((provider, deed)))
        });
        created.await.and_then(done)
    }

    async fn update_provider(
        &self,
        by: &Actor,
        id: Uuid,
        change: ProviderChange,
    ) -> Result<Option<Committed<Provider>>> {
        self.mutate(by, async |transaction| {
            let Some(mut provider) = self.find_provider(transaction, id).await? else {
                return Ok(None);
            };
            let (sealing, fields) = (self.sealing(transaction).await?, change.fields());
            change.apply(&mut provider, sealing)?;
            provider.updated_at = now();
            self.store_provider(transaction, &provider).await?;
            let deed = Deed::update("provider", id, provider.name.as_str(), fields);
            Ok(Some((provider, deed)))
        })
        .await
    }

    async fn delete_provider(&self, by: &Actor, id: Uuid) -> Result<Option<Committed<()>>> {
        self.mutate(by, async |transaction| {
            let removed = self.remove_provider(transaction, id).await?;
            Ok(removed.map(|name| ((), Deed::new("delete", "provider", id, &name))))
        })
        .await
    }

    async fn models(&self, page: Page) -> Result<Vec<Model>> {
        self.statements(PATIENCE, async |connection| self.list_models(connection, page).await).await
    }

    async fn model(&self, id: Uuid) -> Result<Option<Model>> {
        self.statements(PATIENCE, async |connection| self.find_model(connection, id).await).await
    }

    async fn create_model(&self, by: &Actor, new: NewModel) -> Result<Committed<Model>> {
        let created = self.mutate(by, async |transaction| {
            let provider_name = self.provider_name(transaction, new.provider_id).await?;
            let model = Model::new(Uuid::now_v7(), new, provider_name, now());
            self.insert_model(transaction, &model).await?;
            let deed = Deed::new("create", "model", model.id, model.name.as_str());
            Ok(Some((model, deed)))
        });
        created.await.and_then(done)
    }

    async fn update_model(
        &self,
        by: &Actor,
        id: Uuid,
        change: ModelChange,
    ) -> Result<Option<Committed<Model>>> {
        self.mutate(by, async |transaction| {
            let Some(mut model) = self.find_model(transaction, id).await? else {
                return Ok(None);
            };
            let fields = change.fields();
            change.apply(&mut model);
            model.updated_at = now();
            model.provider_name = self.provider_name(transaction, model.provider_id).await?;
            self.store_model(transaction, &model).await?;
            let deed = Deed::update("model", id, model.name.as_str(), fields);
            Ok(Some((model, deed)))
        })
        .await
    }

    async fn delete_model(&self, by: &Actor, id: Uuid) -> Result<Option<Committed<()>>> {
        self.mutate(by, async |transaction| {
            let removed = self.remove_model(transaction, id).await?;
            Ok(removed.map(|name| ((), Deed::new("delete", "model", id, &name))))
        })
        .await
    }

    async fn keys(&self, page: Page) -> Result<Vec<UserKey>> {
        self.statements(PATIENCE, async |connection| self.list_keys(connection, page).await).await
    }

    async fn key(&self, id: Uuid) -> Result<Option<UserKey>> {
        self.statements(PATIENCE, async |connection| self.find_key(connection, id).await).await
    }

    async fn create_key(
        &self,
        by: &Actor,
        name: Name,
        hash: KeyHash,
        prefix: &str,
    ) -> Result<Committed<UserKey>> {
        let key = UserKey::new(Uuid::now_v7(), name, prefix.to_owned(), now());
        let created = self.mutate(by, async |transaction| {
            self.insert_key(transaction, &key, hash).await?;
            let deed = Deed::new("create", "key", key.id, key.name.as_str());
            Ok(Some((key, deed)))
        });
        created.await.and_then(done)
    }

    async fn rename_key(
        &self,
        by: &Actor,
        id: Uuid,
        name: Name,
    ) -> Result<Option<Committed<UserKey>>> {
        self.mutate(by, async |transaction| {
            let Some(mut key) = self.find_key(transaction, id).await? else {
                return Ok(None);
            };
            key.name = name;
            key.updated_at = now();
            self.store_key_name(transaction, &key).await?;
            let deed = Deed::update("key", id, key.name.as_str(), vec!["name"]);
            Ok(Some((key, deed)))
        })
        .await
    }

    async fn rotate_key(
        &self,
        by: &Actor,
        id: Uuid,
        hash: KeyHash,
        prefix: &str,
    ) -> Result<Option<Committed<UserKey>>> {
        self.mutate(by, async |transaction| {
            let Some(mut key) = self.find_key(transaction, id).await? else {
                return Ok(None);
            };
            if !key.is_active {
                return Err(StorageError::KeyRevoked);
            }
            key.key_prefix = prefix.to_owned();
            key.updated_at = now();
            self.store_key_hash(transaction, &key, hash).await?;
            let deed = Deed::new("rotate", "key", id, key.name.as_str());
            Ok(Some((key, deed)))
        })
        .await
    }

    async fn revoke_key(&self, by: &Actor, id: Uuid) -> Result<Option<Committed<()>>> {
        self.mutate(by, async |transaction| {
            let Some(key) = self.find_key(transaction, id).await? else {
                return Ok(None);
            };
            self.deactivate_key(transaction, id).await?;
            Ok(Some(((), Deed::new("revoke", "key", id, key.name.as_str()))))
        })
        .await
    }

    async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>> {
        self.statements(PATIENCE, async |connection| self.list_audit(connection, page).await).await
    }

    async fn rotate_encryption_key(&self, target: Target) -> Result<Resealed> {
        DB::prepare(self).await?;
        self.check_schema().await?;
        self.reseal_all(target).await
    }

    fn connections(&self) -> Connections {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        Connections {
            in_use: self.pool.size().saturating_sub(idle),
            idle,
            most: self.settings.max_connections,
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}}
