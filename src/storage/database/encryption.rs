//! Under which key providers' keys and headers are sealed. The database says it, in one row, so that all
//! replicas that write seal with the same key, and a start with a wrong one is noticed.

use derive_more::Display;
use sqlx::Connection as _;
use uuid::Uuid;

use super::{Result, StorageError, for_every_driver, sql::failure};
use crate::domain::{Actor, Deed, EncryptionKey, Keyring, ProviderHeaders, ProviderKey, Sealed};

/// What everything is to be sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `ENCRYPTION_KEY`.
    CurrentKey,
    /// Nothing: plaintext again.
    Plaintext,
}

/// What a rotation did.
#[derive(Clone, Copy, Debug, Default, Display, PartialEq, Eq)]
#[display("{changed} providers' keys were stored anew, {unchanged} were so already")]
pub struct Resealed {
    /// Providers whose key is stored in another way now.
    pub changed: usize,
    /// Providers whose key was stored so already.
    pub unchanged: usize,
}

/// What becomes of a key that can't be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    /// It stays as it is; its models are out of order, and no others.
    Stays,
    /// Nothing is changed at all.
    Refuses,
}

fn broken(reason: String) -> StorageError {
    StorageError::Broken { reason }
}

for_every_driver! {; impl {
    pub(super) fn keyring(&self) -> &Keyring {
        &self.settings.keyring
    }

    /// What a key that is stored now has to be sealed with. To be asked within the transaction that
    /// stores it: it holds the counter, so no rotation slips in between.
    pub(super) async fn sealing(
        &self,
        transaction: &mut DB::Connection,
    ) -> Result<Option<&EncryptionKey>> {
        match self.sealing_id(transaction).await? {
            None => Ok(None),
            Some(id) => match self.keyring().get(&id) {
                Some(key) => Ok(Some(key)),
                None => Err(StorageError::WrongEncryptionKey { id }),
            },
        }
    }

    async fn sealing_id(&self, connection: &mut DB::Connection) -> Result<Option<String>> {
        let (id,): (Option<String>,) = self.query_as("SELECT key_id FROM encryption")
            .fetch_one(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(id)
    }

    /// At the start: refuses a wrong key, and seals what is in plaintext although there is a key.
    /// Where nothing is to be done nothing is written, so that a standby will do.
    pub(super) async fn settle_encryption(&self) -> Result<()> {
        let look = self.early(async |connection| {
            let mut transaction = connection.begin().await.map_err(failure::<DB>)?;
            let is_to_be_sealed = self.is_to_be_sealed(&mut transaction).await?;
            transaction.commit().await.map_err(failure::<DB>)?;
            Ok(is_to_be_sealed)
        });
        if !look.await? {
            return Ok(());
        }
        let resealed = self
            .early_mutation(async |transaction| {
                // Others may have been quicker.
                match self.is_to_be_sealed(transaction).await? {
                    true => {
                        let key = self.keyring().current.as_ref();
                        self.reseal(transaction, key, Unreadable::Stays).await
                    }
                    false => Ok(Resealed::default()),
                }
            })
            .await?;
        if resealed.changed > 0 {
            log::info!("encryption: {} providers' keys were sealed", resealed.changed);
            self.scrub().await;
        }
        Ok(())
    }

    async fn is_to_be_sealed(&self, connection: &mut DB::Connection) -> Result<bool> {
        match (&self.keyring().current, self.sealing(connection).await?) {
            (None, _) => Ok(false),
            (Some(_), None) => Ok(true),
            // A rotation is under way; it is not for a start to end it.
            (Some(current), Some(sealing)) if current.id() != sealing.id() => Ok(false),
            (Some(current), Some(_)) => self.has_unsealed(connection, current).await,
        }
    }

    async fn has_unsealed(
        &self,
        connection: &mut DB::Connection,
        key: &EncryptionKey,
    ) -> Result<bool> {
        let (unsealed,): (i64,) = self.query_as(
            "SELECT count(*) FROM providers WHERE api_key NOT LIKE $1 OR headers NOT LIKE $1",
        )
            .bind(format!("{}%", key.mark()))
            .fetch_one(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(unsealed > 0)
    }

    /// What is stored is sealed already; that older copies go too is an extra.
    async fn scrub(&self) {
        if let Err(error) = DB::scrub(self).await {
            log::warn!("encryption: the database's files may still hold keys as they were before ({error})");
        }
    }

    pub(super) async fn reseal_all(&self, target: Target) -> Result<Resealed> {
        let key = match (target, &self.keyring().current) {
            (Target::CurrentKey, Some(key)) => Some(key),
            (Target::Plaintext, None) => None,
            (Target::CurrentKey, None) => return Err(broken(format!(
                "ENCRYPTION_KEY: is required; {}", EncryptionKey::REMEDY
            ))),
            (Target::Plaintext, Some(_)) => return Err(broken(
                "ENCRYPTION_KEY: is set, and gateways that start with it would seal everything again; \
                 give the key as ENCRYPTION_KEY_PREVIOUS".to_owned(),
            )),
        };
        let resealed = self.early_mutation(async |transaction| {
            self.sealing(transaction).await?;
            self.reseal(transaction, key, Unreadable::Refuses).await
        });
        let resealed = resealed.await?;
        self.scrub().await;
        Ok(resealed)
    }

    /// Triggers log the change of every route, so that each cache drops what it holds of it.
    async fn reseal(
        &self,
        transaction: &mut DB::Connection,
        key: Option<&EncryptionKey>,
        unreadable: Unreadable,
    ) -> Result<Resealed> {
        let rows = self.query_as::<(Uuid, String, String, String)>(
            "SELECT id, name, api_key, headers FROM providers",
        )
            .fetch_all(&mut *transaction)
            .await
            .map_err(failure::<DB>)?;
        let mut resealed = Resealed::default();
        for (id, name, api_key, headers) in rows {
            let api_key: ProviderKey = self.keyring().open(id, api_key);
            let headers: ProviderHeaders = self.keyring().open(id, headers);
            match (api_key.opened(), headers.opened()) {
                (Some(_), Some(_)) if api_key.is_stored_with(key) && headers.is_stored_with(key) => {
                    resealed.unchanged += 1;
                }
                (Some(api_key), Some(headers)) => {
                    let api_key = Sealed::new(id, api_key.clone(), key);
                    let headers = Sealed::new(id, headers.clone(), key);
                    self.store_secrets(transaction, id, &api_key, &headers).await?;
                    resealed.changed += 1;
                }
                _ if unreadable == Unreadable::Refuses => return Err(broken(format!(
                    "nothing was changed: the key or the headers of provider `{name}` can't be opened with ENCRYPTION_KEY or \
                     ENCRYPTION_KEY_PREVIOUS; give the provider its api_key and headers anew, or delete it"
                ))),
                _ => {
                    log::error!("encryption: the key or the headers of provider `{name}` can't be opened; its models are out of order");
                }
            }
        }
        self.query_scalar::<bool>("UPDATE encryption SET key_id = $1 RETURNING only_row")
            .bind(key.map(|key| key.id().to_string()))
            .fetch_one(&mut *transaction)
            .await
            .map_err(failure::<DB>)?;
        let deed = Deed {
            action: "seal",
            item_kind: "encryption",
            item_id: None,
            item_name: key.map_or("plaintext".to_owned(), |key| key.id().to_string()),
            fields: Vec::new(),
        };
        self.record(transaction, &Actor::default(), &deed).await?;
        Ok(resealed)
    }

    async fn store_secrets(
        &self,
        transaction: &mut DB::Connection,
        id: Uuid,
        api_key: &ProviderKey,
        headers: &ProviderHeaders,
    ) -> Result<()> {
        self.query("UPDATE providers SET api_key = $2, headers = $3 WHERE id = $1")
            .bind(id)
            .bind(api_key.stored().to_owned())
            .bind(headers.stored().to_owned())
            .execute(transaction)
            .await
            .map_err(failure::<DB>)?;
        Ok(())
    }
}}
