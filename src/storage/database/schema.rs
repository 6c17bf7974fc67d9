//! Migrations that fail, and what to make of a database that a newer version of this program has
//! migrated: the rule of `docs/ARCHITECTURE.md`, "Migrations".

use sqlx::{Connection as _, migrate::MigrateError};

use super::{
    Result, StorageError, for_every_driver,
    sql::{Dialect, failure},
};

/// How the name of a migration begins that takes something away: `needs_0005_…` says that
/// programs have to know migration 5 to do without.
const NEEDS: &str = "needs ";

/// The newest migration that a program has to know to work after this one; 0 where any will do.
fn needed(description: &str) -> i64 {
    let number = description.strip_prefix(NEEDS);
    let number = number.and_then(|rest| rest.split(' ').next());
    number.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Whether a program whose newest migration is `known` can work with a database to which `applied`
/// were.
fn check(known: i64, applied: &[(i64, String)]) -> Result<()> {
    let newer = || applied.iter().filter(|(version, _)| *version > known);
    if let Some((version, description)) = newer().find(|(_, name)| needed(name) > known) {
        return Err(StorageError::Broken {
            reason: format!(
                "the database is too new: a newer version of this program has applied migration \
                 {version} ({description}), and this one knows none after {known}; run a version \
                 that knows migration {}",
                needed(description)
            ),
        });
    }
    if let Some((version, _)) = newer().next_back() {
        log::info!(
            "database: migrated up to {version} by a newer version of this program, which knows \
             none after {known} and can work with it"
        );
    }
    Ok(())
}

/// An outage is one in the middle of a migration too.
pub(super) fn migration_failure<DB: Dialect>(error: MigrateError) -> StorageError {
    let (error, version) = match error {
        MigrateError::Execute(error) => return failure::<DB>(error),
        MigrateError::ExecuteMigration(error, version) => (failure::<DB>(error), version),
        error => {
            return StorageError::Broken {
                reason: format!("migration: {error}"),
            };
        }
    };
    match error {
        StorageError::Broken { reason } => StorageError::Broken {
            reason: format!("migration {version}: {reason}"),
        },
        outage => outage,
    }
}

for_every_driver! {; impl {
    /// Refuses a database from which a newer version has taken away what this one needs. Any other
    /// newer one is used: in a rolling upgrade, replicas of the version before start too.
    pub(super) async fn check_schema(&self) -> Result<()> {
        let known = DB::migrations().iter().map(|migration| migration.version);
        let known = known.max().unwrap_or(0);
        let applied = self.early(async |connection| {
            // Behind a pooler, a statement needs a transaction.
            let mut transaction = connection.begin().await.map_err(failure::<DB>)?;
            let applied = self
                .query_as("SELECT version, description FROM _sqlx_migrations ORDER BY version")
                .fetch_all(&mut *transaction)
                .await
                .map_err(failure::<DB>)?;
            transaction.commit().await.map_err(failure::<DB>)?;
            Ok(applied)
        });
        check(known, &applied.await?)
    }
}}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(names: &[(i64, &str)]) -> Vec<(i64, String)> {
        let owned = names
            .iter()
            .map(|(version, name)| (*version, (*name).to_owned()));
        owned.collect()
    }

    #[test]
    fn a_newer_database_is_used_unless_it_needs_a_newer_program() {
        let newer = applied(&[(3, "needs 0003 x"), (4, "notes"), (5, "needs 0003 drop x")]);
        assert!(check(5, &newer).is_ok());
        assert!(check(3, &newer).is_ok());
        let refused = check(2, &newer).unwrap_err().to_string();
        assert!(refused.contains("migration 3"), "{refused}");
    }

    #[test]
    fn only_a_name_that_says_so_needs_anything() {
        assert_eq!(needed("needs 0012 drop the old column"), 12);
        assert_eq!(needed("what needs 0012"), 0);
        assert_eq!(needed("needs nothing"), 0);
    }
}
