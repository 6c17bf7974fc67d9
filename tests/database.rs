//! The database behind storage: one suite, run on both drivers. `GATEWAY_TEST_STORAGE` says which
//! (`sqlite`, the default, or `postgres`, whose server `DATABASE_URL` names).

// Tests may panic, and they run tasks of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "replicas/older.rs"]
mod older;
#[path = "gateway/support/storage.rs"]
#[allow(dead_code, reason = "the gateway's own tests use the rest")]
mod storage;

use std::{fs, sync::Arc, time::Duration};

use llm_gateway::{
    Settings,
    domain::{
        Actor, BaseUrl, FixedHeaders, KeyHash, KeyIdentity, ModelChange, Name, NewModel,
        NewProvider, PlainKey, Provider, ProviderChange, ProviderKind, Route, Secret, Timeouts,
    },
    metrics::Metrics,
    storage::{
        Page, StorageError,
        database::{self, Batch, Database, Delta, Entry, Stamp},
    },
};
use older::migrate_to;
use storage::TestStorage;
use tokio::sync::mpsc;
use uuid::Uuid;

struct Fixture {
    database: Arc<dyn Database>,
    // Last, so that the connections have gone before the database goes.
    storage: TestStorage,
}

impl Fixture {
    async fn new() -> Self {
        let storage = TestStorage::new().await;
        let database = open(&storage);
        database.prepare().await.unwrap();
        Self { database, storage }
    }

    async fn provider(&self, name: &str) -> Provider {
        let new = new_provider(name);
        self.database
            .create_provider(&Actor::default(), new)
            .await
            .unwrap()
            .value
    }

    async fn key(&self) -> (Uuid, KeyHash) {
        let plain = PlainKey::generate();
        let key = self
            .database
            .create_key(
                &Actor::default(),
                name("a key"),
                plain.hash(),
                plain.prefix(),
            )
            .await
            .unwrap();
        (key.value.id, plain.hash())
    }
}

fn open(storage: &TestStorage) -> Arc<dyn Database> {
    let environment = storage.environment();
    let settings = Settings::from_lookup(|name| match name {
        "ADMIN_KEY" => Some("0123456789abcdef".to_owned()),
        _ => {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        }
    });
    database::connect(&settings.unwrap().database, &Metrics::default()).unwrap()
}

async fn is_active(database: &Arc<dyn Database>, hash: KeyHash) -> bool {
    let active = database.active_keys(&[hash]).await.unwrap();
    active.iter().any(|(found, _)| *found == hash)
}

async fn route(database: &Arc<dyn Database>, model: &str) -> Option<Route> {
    let found = database.routes(&[model.to_owned()]).await.unwrap();
    let found = found.into_iter().find(|(name, _)| name == model);
    found.map(|(_, route)| route)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn new_provider(text: &str) -> NewProvider {
    NewProvider {
        name: name(text),
        kind: ProviderKind::OPENAI,
        api_key: Secret::new("sk-provider"),
        base_url: None,
        headers: FixedHeaders::default(),
        timeouts: Timeouts::default(),
    }
}

fn new_model(text: &str, provider_id: Uuid) -> NewModel {
    NewModel {
        name: name(text),
        provider_id,
        provider_model_name: None,
    }
}

const ALL: Page = Page {
    after: None,
    limit: 1_000,
};

type Told = (
    Stamp,
    Vec<(KeyHash, Option<KeyIdentity>)>,
    Vec<(String, bool)>,
);

fn entries(delta: Delta) -> Told {
    match delta {
        Delta::Everything(stamp) => panic!("the log does not reach to {stamp:?}"),
        Delta::Entries {
            stamp,
            keys,
            routes,
        } => {
            let mut routes: Vec<_> = routes
                .into_iter()
                .map(|(model, route)| (model, route.is_some()))
                .collect();
            routes.sort();
            (stamp, keys, routes)
        }
    }
}

/// The tables as every release has left them since the first; what they hold outlives an upgrade.
#[actix_rt::test]
async fn a_database_of_the_first_release_is_migrated_with_its_contents() {
    let storage = TestStorage::new().await;
    migrate_to(&storage, 1).await;
    let insert = match storage {
        TestStorage::Sqlite { .. } => {
            "INSERT INTO providers (id, name, kind, base_url, api_key) VALUES \
             (randomblob(16), 'old', 'openai', 'https://api.example/v1', 'sk-old')"
        }
        TestStorage::Postgres { .. } => {
            "INSERT INTO providers (id, name, kind, base_url, api_key) VALUES \
             (gen_random_uuid(), 'old', 'openai', 'https://api.example/v1', 'sk-old')"
        }
    };
    storage.execute(insert).await;
    let database = open(&storage);
    database.prepare().await.unwrap();
    let providers = database.providers(ALL).await.unwrap();
    assert_eq!(providers.len(), 1);
    let old = &providers[0];
    assert_eq!((old.name.as_str(), old.api_key.stored()), ("old", "sk-old"));
    assert_eq!(old.headers.opened(), Some(&FixedHeaders::default()));
    assert_eq!(old.timeouts, Timeouts::default());
    database.close().await;
}

/// Writes into the list of migrations what a newer version would have.
async fn apply_newer(storage: &TestStorage, statement: &'static str) {
    open(storage).prepare().await.unwrap();
    storage.execute(statement).await;
}

#[actix_rt::test]
async fn a_database_of_a_newer_version_is_used_where_nothing_was_taken_away() {
    let storage = TestStorage::new().await;
    apply_newer(
        &storage,
        "ALTER TABLE providers ADD COLUMN notes TEXT NOT NULL DEFAULT ''; \
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9001, 'notes', TRUE, '', 0), (9002, 'needs 0003 drop something', TRUE, '', 0)",
    )
    .await;
    let database = open(&storage);
    database.prepare().await.unwrap();
    let by = Actor::default();
    let created = database.create_provider(&by, new_provider("p"));
    let id = created.await.unwrap().value.id;
    assert!(database.provider(id).await.unwrap().is_some());
    database.close().await;
}

#[actix_rt::test]
async fn a_database_that_needs_a_newer_version_is_refused() {
    let storage = TestStorage::new().await;
    apply_newer(
        &storage,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9001, 'notes', TRUE, '', 0), (9002, 'needs 9001 drop something', TRUE, '', 0)",
    )
    .await;
    let refused = open(&storage).prepare().await.unwrap_err();
    let StorageError::Broken { reason } = &refused else {
        panic!("{refused:?}");
    };
    assert!(
        reason.contains("migration 9002") && reason.contains("knows migration 9001"),
        "{reason}"
    );
}

/// What takes something away from the program before it says so in its file's name. The words are
/// those by which PostgreSQL does it: with SQLite no two versions run side by side.
#[test]
fn a_migration_that_takes_something_away_says_whom_it_needs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
    let files: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert!(!files.is_empty());
    for file in files {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let text = fs::read_to_string(file.path()).unwrap().to_uppercase();
        let taking = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .find(|line| takes_away(line));
        assert!(
            name[4..].starts_with("_needs_") || taking.is_none(),
            "{name} takes something away, and isn't called NNNN_needs_NNNN_…: {taking:?}"
        );
    }
}

fn takes_away(line: &str) -> bool {
    let words = [
        "DROP TABLE",
        "DROP COLUMN",
        "DROP FUNCTION",
        "RENAME ",
        "SET NOT NULL",
        " TYPE ",
    ];
    let has = |word: &str| line.contains(word);
    words.into_iter().any(has) || (has("ADD COLUMN") && has("NOT NULL") && !has("DEFAULT"))
}

#[actix_rt::test]
async fn what_a_provider_was_given_reads_back_and_is_in_its_models_routes() {
    let fixture = Fixture::new().await;
    let new = NewProvider {
        headers: FixedHeaders::parse([("X-Title", "a \"b\" c"), ("x-secret", "0123456789abcdef")])
            .unwrap(),
        timeouts: Timeouts {
            connect: Some(Duration::from_millis(1)),
            response: None,
            idle: Some(Timeouts::LONGEST),
        },
        ..new_provider("p")
    };
    let created = fixture
        .database
        .create_provider(&Actor::default(), new.clone())
        .await
        .unwrap()
        .value;
    let found = fixture
        .database
        .provider(created.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.headers.opened(), found.timeouts),
        (Some(&new.headers), new.timeouts)
    );

    let model = new_model("m", created.id);
    let model = fixture
        .database
        .create_model(&Actor::default(), model)
        .await
        .unwrap()
        .value;
    let found = route(&fixture.database, "m").await.unwrap();
    assert_eq!(
        (found.provider.headers.opened(), found.provider.timeouts),
        (Some(&new.headers), new.timeouts)
    );
    assert_eq!(found.created_at, model.created_at);

    let change = ProviderChange {
        headers: Some(FixedHeaders::default()),
        timeouts: Some(Timeouts::default()),
        ..ProviderChange::default()
    };
    fixture
        .database
        .update_provider(&Actor::default(), created.id, change)
        .await
        .unwrap();
    let reset = route(&fixture.database, "m").await.unwrap();
    assert!(reset.provider.headers.is_empty());
    assert_eq!(reset.provider.timeouts, Timeouts::default());
}

#[actix_rt::test]
async fn several_replicas_may_prepare_the_same_database_at_once() {
    let storage = TestStorage::new().await;
    let replicas = [(); 4].map(|()| open(&storage));
    let prepared = replicas.iter().map(|replica| replica.prepare());
    for result in futures_util::future::join_all(prepared).await {
        result.unwrap();
    }
    assert_eq!(replicas[0].stamp().await.unwrap().version, 0);
    for replica in replicas {
        replica.close().await;
    }
}

#[actix_rt::test]
async fn nothing_is_asked_before_the_tables_are_there() {
    let storage = TestStorage::new().await;
    let database = open(&storage);
    let refused = database.active_keys(&[PlainKey::generate().hash()]).await;
    assert!(matches!(refused, Err(StorageError::Unavailable { .. })));
}

#[actix_rt::test]
async fn a_provider_is_stored_read_changed_and_deleted() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let created = fixture.provider("first").await;
    let read = database.provider(created.id).await.unwrap().unwrap();
    assert_eq!(format!("{read:?}"), format!("{created:?}"));
    assert_eq!(read.api_key.opened().unwrap().expose(), "sk-provider");

    let change = ProviderChange {
        base_url: Some(Some(BaseUrl::parse("http://localhost:1/v1").unwrap())),
        api_key: Some(Secret::new("sk-local")),
        is_active: Some(false),
        ..ProviderChange::default()
    };
    let changed = database
        .update_provider(&Actor::default(), created.id, change)
        .await
        .unwrap();
    let changed = changed.unwrap().value;
    assert_eq!(changed.base_url.as_str(), "http://localhost:1/v1");
    assert!(!changed.is_active && changed.updated_at >= created.updated_at);
    assert_eq!(changed.api_key.opened().unwrap().expose(), "sk-local");

    assert!(
        database
            .delete_provider(&Actor::default(), created.id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        database
            .delete_provider(&Actor::default(), created.id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(database.provider(created.id).await.unwrap().is_none());
}

#[actix_rt::test]
async fn names_of_providers_and_models_are_unique() {
    let fixture = Fixture::new().await;
    let provider = fixture.provider("taken").await;
    let taken = |result: StorageError, of: &str| {
        assert!(matches!(result, StorageError::NameTaken { kind, .. } if kind == of));
    };
    let again = fixture
        .database
        .create_provider(&Actor::default(), new_provider("taken"))
        .await;
    taken(again.unwrap_err(), "provider");

    let model = || new_model("m", provider.id);
    fixture
        .database
        .create_model(&Actor::default(), model())
        .await
        .unwrap();
    let again = fixture
        .database
        .create_model(&Actor::default(), model())
        .await;
    taken(again.unwrap_err(), "model");
    // A refused mutation leaves no trace and no lock.
    assert_eq!(fixture.database.models(ALL).await.unwrap().len(), 1);
    fixture
        .database
        .create_model(&Actor::default(), new_model("n", provider.id))
        .await
        .unwrap();
}

#[actix_rt::test]
async fn a_provider_in_use_is_not_deleted() {
    let fixture = Fixture::new().await;
    let provider = fixture.provider("busy").await;
    fixture
        .database
        .create_model(&Actor::default(), new_model("b", provider.id))
        .await
        .unwrap();
    fixture
        .database
        .create_model(&Actor::default(), new_model("a", provider.id))
        .await
        .unwrap();
    let refused = fixture
        .database
        .delete_provider(&Actor::default(), provider.id)
        .await;
    let models = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(refused.unwrap_err(), StorageError::ProviderInUse { models });
}

#[actix_rt::test]
async fn a_model_needs_a_provider_that_exists() {
    let fixture = Fixture::new().await;
    let id = Uuid::now_v7();
    let refused = fixture
        .database
        .create_model(&Actor::default(), new_model("m", id))
        .await;
    assert_eq!(refused.unwrap_err(), StorageError::UnknownProvider { id });
}

#[actix_rt::test]
async fn only_an_active_model_of_an_active_provider_has_a_route() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let provider = fixture.provider("p").await;
    let model = NewModel {
        provider_model_name: Some(name("there")),
        ..new_model("here", provider.id)
    };
    let model = database
        .create_model(&Actor::default(), model)
        .await
        .unwrap()
        .value;
    let found = route(database, "here").await.unwrap();
    assert_eq!(found.provider_model, "there");
    assert_eq!(
        found.provider.api_key.opened().unwrap().expose(),
        "sk-provider"
    );
    assert!(route(database, "there").await.is_none());

    let switch = |is_active| ModelChange {
        is_active: Some(is_active),
        ..ModelChange::default()
    };
    database
        .update_model(&Actor::default(), model.id, switch(false))
        .await
        .unwrap();
    assert!(route(database, "here").await.is_none());
    database
        .update_model(&Actor::default(), model.id, switch(true))
        .await
        .unwrap();
    assert!(route(database, "here").await.is_some());

    let off = ProviderChange {
        is_active: Some(false),
        ..ProviderChange::default()
    };
    database
        .update_provider(&Actor::default(), provider.id, off)
        .await
        .unwrap();
    assert!(route(database, "here").await.is_none());
}

/// Names of every kind beside each other: none of them may change what is found of the others.
#[actix_rt::test]
async fn each_of_many_look_ups_gets_its_own_answer() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let provider = fixture.provider("p").await.id;
    let there = [
        "a/b:c",
        "通义千问",
        "\"quoted\"",
        "back\\slash",
        "it's",
        "[1]",
        "null",
        "emoji 🦀",
        "line\u{2028}break",
    ];
    for model in there {
        let new = new_model(model, provider);
        database.create_model(&Actor::default(), new).await.unwrap();
    }
    let (mut active, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let (revoked, hash) = fixture.key().await;
        database
            .revoke_key(&Actor::default(), revoked)
            .await
            .unwrap();
        let (id, kept) = fixture.key().await;
        active.push((kept, KeyIdentity::new(id, "a key")));
        asked.extend([hash, kept, PlainKey::generate().hash()]);
    }
    asked.extend((0..1_000).map(|_| PlainKey::generate().hash()));
    // Twice the same, too.
    asked.push(active[0].0);

    let mut found = database.active_keys(&asked).await.unwrap();
    for list in [&mut found, &mut active] {
        list.sort_by_key(|(hash, _)| hash.to_hex());
    }
    assert_eq!(found.len(), 20);
    assert_eq!(found, active);

    let asked = there.iter().map(|model| model.to_string());
    let unknown = (0..1_000).map(|number| format!("unknown-{number}"));
    let found = database
        .routes(&asked.chain(unknown).collect::<Vec<_>>())
        .await;
    let mut found: Vec<_> = found.unwrap().into_iter().map(|(name, _)| name).collect();
    found.sort();
    let mut expected = there.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
    assert!(database.active_keys(&[]).await.unwrap().is_empty());
    assert!(database.routes(&[]).await.unwrap().is_empty());
}

#[actix_rt::test]
async fn a_key_is_active_until_it_is_rotated_or_revoked() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let (id, first) = fixture.key().await;
    assert!(is_active(database, first).await);

    let second = PlainKey::generate();
    database
        .rotate_key(&Actor::default(), id, second.hash(), second.prefix())
        .await
        .unwrap();
    assert!(!is_active(database, first).await);
    assert!(is_active(database, second.hash()).await);

    assert!(
        database
            .revoke_key(&Actor::default(), id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(!is_active(database, second.hash()).await);
    let row = database.key(id).await.unwrap().unwrap();
    assert!(!row.is_active);
    // Once more is no error, and doesn't touch the row.
    assert!(
        database
            .revoke_key(&Actor::default(), id)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        database.key(id).await.unwrap().unwrap().updated_at,
        row.updated_at
    );
    let refused = database
        .rotate_key(&Actor::default(), id, first, "sk-")
        .await;
    assert_eq!(refused.unwrap_err(), StorageError::KeyRevoked);
    assert!(
        database
            .revoke_key(&Actor::default(), Uuid::now_v7())
            .await
            .unwrap()
            .is_none()
    );
}

#[actix_rt::test]
async fn lists_run_newest_first_and_page_by_page() {
    let fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(fixture.key().await.0);
    }
    ids.reverse();
    let page = |after, limit| fixture.database.keys(Page { after, limit });
    let ids_of = |keys: Vec<llm_gateway::domain::UserKey>| {
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids_of(page(None, 10).await.unwrap()), ids);
    assert_eq!(ids_of(page(None, 2).await.unwrap()), ids[..2]);
    assert_eq!(ids_of(page(Some(ids[1]), 2).await.unwrap()), ids[2..4]);
    assert!(page(Some(ids[4]), 2).await.unwrap().is_empty());
}

#[actix_rt::test]
async fn every_mutation_says_what_it_changed() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let plain = PlainKey::generate();
    let created = database
        .create_key(&Actor::default(), name("k"), plain.hash(), plain.prefix())
        .await
        .unwrap();
    assert_eq!(created.changes.before, 0);
    assert_eq!(created.changes.delta.entries(), [Entry::Key(plain.hash())]);
    assert_eq!(
        created.changes.delta.stamp(),
        database.stamp().await.unwrap()
    );

    let next = PlainKey::generate();
    let rotated = database
        .rotate_key(
            &Actor::default(),
            created.value.id,
            next.hash(),
            next.prefix(),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        rotated.changes.before,
        created.changes.delta.stamp().version
    );
    assert_eq!(rotated.changes.delta.entries().len(), 2);
    assert!(
        rotated
            .changes
            .delta
            .entries()
            .contains(&Entry::Key(plain.hash()))
    );

    let renamed = database
        .rename_key(&Actor::default(), created.value.id, name("renamed"))
        .await
        .unwrap()
        .unwrap();
    let (_, keys, _) = entries(renamed.changes.delta);
    let identity = KeyIdentity::new(created.value.id, "renamed");
    assert_eq!(keys, [(next.hash(), Some(identity))]);

    let provider = database
        .create_provider(&Actor::default(), new_provider("p"))
        .await
        .unwrap();
    assert!(provider.changes.delta.entries().is_empty());
    let provider = provider.value.id;
    let model = database
        .create_model(&Actor::default(), new_model("m", provider))
        .await
        .unwrap()
        .value;
    let renamed = ModelChange {
        name: Some(name("n")),
        ..ModelChange::default()
    };
    let renamed = database
        .update_model(&Actor::default(), model.id, renamed)
        .await
        .unwrap()
        .unwrap();
    for model in ["m", "n"] {
        let entry = Entry::Route(model.to_owned());
        assert!(renamed.changes.delta.entries().contains(&entry));
    }
    let update = database
        .update_provider(&Actor::default(), provider, ProviderChange::default())
        .await;
    let entries = update.unwrap().unwrap().changes.delta.entries();
    assert_eq!(entries, [Entry::Route("n".to_owned())]);
    let deleted = database
        .delete_model(&Actor::default(), model.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        deleted.changes.delta.entries(),
        [Entry::Route("n".to_owned())]
    );
}

#[actix_rt::test]
async fn a_delta_tells_the_present_state_of_everything_that_changed() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let (_, before) = fixture.key().await;
    let start = database.stamp().await.unwrap();
    let (stamp, keys, routes) = entries(database.changes_since(start.version).await.unwrap());
    assert_eq!((stamp, keys.len(), routes.len()), (start, 0, 0));

    let (kept_id, kept) = fixture.key().await;
    database
        .rename_key(&Actor::default(), kept_id, name("renamed"))
        .await
        .unwrap();
    let (revoked_id, revoked) = fixture.key().await;
    database
        .revoke_key(&Actor::default(), revoked_id)
        .await
        .unwrap();
    let provider = fixture.provider("p").await.id;
    database
        .create_model(&Actor::default(), new_model("kept", provider))
        .await
        .unwrap();
    let gone = database
        .create_model(&Actor::default(), new_model("gone", provider))
        .await
        .unwrap()
        .value
        .id;
    database
        .delete_model(&Actor::default(), gone)
        .await
        .unwrap();

    let (stamp, keys, routes) = entries(database.changes_since(start.version).await.unwrap());
    assert_eq!(stamp, database.stamp().await.unwrap());
    assert_eq!(keys.len(), 2);
    let renamed = KeyIdentity::new(kept_id, "renamed");
    assert!(keys.contains(&(kept, Some(renamed))) && keys.contains(&(revoked, None)));
    assert!(!keys.iter().any(|(hash, _)| *hash == before));
    assert_eq!(
        routes,
        [("gone".to_owned(), false), ("kept".to_owned(), true)]
    );
}

#[actix_rt::test]
async fn the_log_names_everything_that_changed() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let (id, hash) = fixture.key().await;
    let start = database.stamp().await.unwrap();
    let told = database.entries_since(start.version).await.unwrap();
    assert_eq!(told, (start, Vec::new()));

    let nobody = Actor::default();
    database.revoke_key(&nobody, id).await.unwrap();
    let provider = fixture.provider("p").await.id;
    let model = new_model("m", provider);
    database.create_model(&nobody, model).await.unwrap();
    let expected = vec![Entry::Key(hash), Entry::Route("m".to_owned())];
    let newest = database.stamp().await.unwrap();
    let told = database.entries_since(start.version).await.unwrap();
    assert_eq!(told, (newest, expected));
    // What the log has forgotten may be anything.
    let forget = "DELETE FROM changes WHERE version <= (SELECT version - 1 FROM change_counter)";
    fixture.storage.execute(forget).await;
    let told = database.entries_since(start.version).await.unwrap();
    assert_eq!(told, (newest, vec![Entry::Everything]));
    let told = database.entries_since(newest.version - 1).await.unwrap();
    assert_eq!(told, (newest, vec![Entry::Route("m".to_owned())]));
}

#[actix_rt::test]
async fn a_version_that_the_log_does_not_know_means_everything() {
    let fixture = Fixture::new().await;
    fixture.key().await;
    let stamp = fixture.database.stamp().await.unwrap();
    let from_the_future = fixture.database.changes_since(stamp.version + 1).await;
    assert!(matches!(from_the_future.unwrap(), Delta::Everything(found) if found == stamp));
    let told = fixture.database.entries_since(stamp.version + 1).await;
    assert_eq!(told.unwrap(), (stamp, vec![Entry::Everything]));
}

#[actix_rt::test]
async fn a_dump_holds_all_that_is_active_and_nothing_else() {
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let mut active = Vec::new();
    for _ in 0..3 {
        let (id, hash) = fixture.key().await;
        active.push((hash, KeyIdentity::new(id, "a key")));
    }
    let (revoked, _) = fixture.key().await;
    database
        .revoke_key(&Actor::default(), revoked)
        .await
        .unwrap();
    let provider = fixture.provider("p").await.id;
    database
        .create_model(&Actor::default(), new_model("m", provider))
        .await
        .unwrap();

    let (sender, mut receiver) = mpsc::channel(8);
    let stamp = database.dump(sender).await.unwrap();
    assert_eq!(stamp, database.stamp().await.unwrap());
    let (mut keys, mut routes) = (Vec::new(), Vec::new());
    while let Some(batch) = receiver.recv().await {
        match batch {
            Batch::Keys(found) => keys.extend(found),
            Batch::Routes(found) => routes.extend(found.into_iter().map(|(model, _)| model)),
        }
    }
    assert_eq!(keys.len(), 3);
    assert!(active.iter().all(|key| keys.contains(key)));
    assert_eq!(routes, ["m"]);
}

#[actix_rt::test]
async fn versions_become_visible_in_order_whoever_writes() {
    let fixture = Fixture::new().await;
    let other = open(&fixture.storage);
    other.prepare().await.unwrap();
    let writers = (0..20).map(|index| {
        let database = if index % 2 == 0 {
            &fixture.database
        } else {
            &other
        };
        async move {
            let plain = PlainKey::generate();
            let created = database
                .create_key(&Actor::default(), name("k"), plain.hash(), plain.prefix())
                .await;
            created.unwrap().changes
        }
    });
    let mut changes = futures_util::future::join_all(writers).await;
    changes.sort_by_key(|changes| changes.before);
    for (index, changes) in changes.iter().enumerate() {
        assert_eq!(changes.before, index as i64);
        assert_eq!(changes.delta.stamp().version, index as i64 + 1);
        assert_eq!(changes.delta.entries().len(), 1);
    }
    other.close().await;
}

#[cfg(unix)]
#[actix_rt::test]
async fn an_embedded_database_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new().await;
    if let TestStorage::Sqlite { folder } = &fixture.storage {
        fixture.key().await;
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.path());
        }
    }
}

#[actix_rt::test]
async fn a_new_epoch_is_begun_once_whoever_asks() {
    let fixture = Fixture::new().await;
    let old = fixture.database.stamp().await.unwrap();
    let new = fixture.database.begin_epoch(old.epoch).await.unwrap();
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(new.version, old.version);
    assert_eq!(fixture.database.begin_epoch(old.epoch).await.unwrap(), new);
    assert_eq!(fixture.database.stamp().await.unwrap(), new);
}

#[actix_rt::test]
async fn the_audit_forgets_what_is_older_than_its_retention() {
    let Fixture { database, storage } = &Fixture::new().await;
    let by_hand = Actor::default();
    for (text, age) in [("old", true), ("new", false)] {
        let plain = PlainKey::generate();
        let created = database
            .create_key(&by_hand, name(text), plain.hash(), plain.prefix())
            .await;
        created.unwrap();
        if age {
            let statement = "UPDATE audit SET created_at = '2001-01-01T00:00:00+00:00'";
            storage.execute(statement).await;
        }
    }
    assert_eq!(database.audit(ALL).await.unwrap().len(), 2);
    database.prune().await.unwrap();
    let left = database.audit(ALL).await.unwrap();
    let names: Vec<_> = left
        .iter()
        .map(|entry| entry.item_name.as_deref())
        .collect();
    assert_eq!(names, [Some("new")]);
}
