//! The caches with very many keys: what filling them, changing them and asking them costs.

use std::{
    fs,
    ops::Range,
    time::{Duration, Instant},
};

use futures_util::future::join;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, query, query_scalar};
use tokio::time::sleep;

use crate::{
    Result,
    http::{Connection, chat},
    load::{Load, percentile},
    options::Options,
    report::{Report, ms, seconds},
    site::{Replica, Site, text, until},
};

/// How often a mutation is timed.
const MUTATIONS: usize = 100;
/// How often a look-up is timed, per tier.
const LOOKUPS: usize = 2_000;
/// In the database fewer, and with pauses, because statements that look something up are paced:
/// 100 a second at most, which is less than the pace.
const LOOKUPS_IN_DATABASE: usize = 500;
const PAUSE: Duration = Duration::from_millis(10);
/// Versions of the change log that are kept (`KEPT_VERSIONS` of the database's queries).
const KEPT_VERSIONS: i64 = 100_000;
/// What is held in the process, of keys and of routes: the default of `MEMORY_CACHE_ENTRIES`.
const MEMORY_ENTRIES: usize = 100_000;
/// SQLite gets a tenth of the keys: it logs a bulk row by row.
const SQLITE_SHARE: usize = 10;
/// Names no model.
const NO_MODEL: &str = "no-such-model";

/// The key with this number, as the statement below makes it too.
fn bulk_key(number: usize) -> String {
    format!("sk-{number:08x}-0000-4000-8000-000000000000")
}

const INSERT_KEYS: &str = "INSERT INTO user_keys (id, name, key_hash, key_prefix) \
    SELECT gen_random_uuid(), 'bulk', encode(sha256(key::BYTEA), 'hex'), left(key, 7) \
    FROM (SELECT 'sk-' || lpad(to_hex(n), 8, '0') || '-0000-4000-8000-000000000000' AS key \
          FROM generate_series(1, $1) AS n) AS bulk";

const INSERT_ROUTES: &str = "INSERT INTO models (id, name, provider_id) \
    SELECT gen_random_uuid(), 'bulk-' || n, $2::UUID FROM generate_series(1, $1) AS n";

/// Not in one transaction, as single calls wouldn't be.
fn many_changes(number: usize) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "DO $$ DECLARE one UUID; BEGIN \
            SELECT id INTO one FROM models LIMIT 1; \
            FOR n IN 1..{number} LOOP \
                UPDATE models SET updated_at = now() WHERE id = one; \
                IF n % 100 = 0 THEN COMMIT; END IF; \
            END LOOP; END $$"
    ))
}

pub(crate) async fn run(options: Options, report: &mut Report) -> Result<()> {
    let (keys, routes) = (options.keys, options.routes);
    let site = Site::open(options).await?;
    let mut database = site.database().await?;
    let few = at_ten_keys(&site, report).await?;
    fill_postgres(&site, &mut database, report).await?;
    report.title(&format!("Start with {keys} keys and {routes} routes"));
    let gateway = start_and_warm_up(&site, report).await?;
    let many = time_mutations(&gateway).await?;
    compare(report, "PostgreSQL", keys, few, many);
    time_tiers(&site, &gateway, report).await?;
    fill_memory(&gateway, keys, report).await?;
    grow_and_prune(&site, &mut database, report).await?;
    drop(gateway);
    sqlite(&site, report).await
}

/// Medians of creating and of revoking a key.
#[derive(Clone, Copy)]
struct Mutations {
    create: Duration,
    revoke: Duration,
}

async fn at_ten_keys(site: &Site, report: &Report) -> Result<Mutations> {
    report.title("Ten keys");
    let gateway = site.replica("gateway-few", &[]).await?;
    let provider = gateway.register(site).await?;
    for index in 0..10 {
        gateway.map(&format!("model-{index}"), &provider).await?;
        gateway.issue().await?;
    }
    site.redis_is_whole().await?;
    let few = time_mutations(&gateway).await?;
    report.row("memory (resident)", mebibytes(memory(&gateway, "VmRSS:")?));
    report.row("create a key, median", ms(few.create));
    report.row("revoke a key, median", ms(few.revoke));
    Ok(few)
}

async fn time_mutations(gateway: &Replica) -> Result<Mutations> {
    let mut connection = Connection::to(gateway.address());
    let create = gateway.admin_request("POST", "/admin/keys", r#"{"name":"timed"}"#);
    let (mut creations, mut revocations) = (Vec::new(), Vec::new());
    for _ in 0..MUTATIONS {
        let began = Instant::now();
        let created = connection.send(&create).await?;
        creations.push(began.elapsed());
        let created: Value = serde_json::from_slice(&created.body)?;
        let path = format!("/admin/keys/{}", text(&created, "id"));
        let revoke = gateway.admin_request("DELETE", &path, "");
        let began = Instant::now();
        if connection.send(&revoke).await?.status != 204 {
            return Err("a key could not be revoked".into());
        }
        revocations.push(began.elapsed());
    }
    creations.sort_unstable();
    revocations.sort_unstable();
    Ok(Mutations {
        create: percentile(&creations, 0.5),
        revoke: percentile(&revocations, 0.5),
    })
}

fn compare(report: &mut Report, database: &str, keys: usize, few: Mutations, many: Mutations) {
    report.title(&format!(
        "One mutation on {database}, at ten keys and at {keys}"
    ));
    for (name, few, many) in [
        ("create a key, median", few.create, many.create),
        ("revoke a key, median", few.revoke, many.revoke),
    ] {
        // Half as much again is this method's noise.
        let is_same = many < few.mul_f64(1.5);
        report.bar(name, format!("{} / {}", ms(few), ms(many)), is_same);
    }
}

async fn fill_postgres(site: &Site, database: &mut PgConnection, report: &Report) -> Result<()> {
    report.title("Inserted by SQL, one statement each, while a gateway's triggers watch");
    let logged = "SELECT count(*) FROM changes WHERE kind = 'all'";
    let before: i64 = query_scalar(logged).fetch_one(&mut *database).await?;
    let provider: String = query_scalar("SELECT id::TEXT FROM providers LIMIT 1")
        .fetch_one(&mut *database)
        .await?;
    let began = Instant::now();
    query(INSERT_KEYS)
        .bind(i32::try_from(site.options.keys)?)
        .execute(&mut *database)
        .await?;
    report.row(
        "keys",
        format!("{} in {}", site.options.keys, seconds(began.elapsed())),
    );
    let began = Instant::now();
    query(INSERT_ROUTES)
        .bind(i32::try_from(site.options.routes)?)
        .bind(provider)
        .execute(&mut *database)
        .await?;
    report.row(
        "routes",
        format!("{} in {}", site.options.routes, seconds(began.elapsed())),
    );
    let after: i64 = query_scalar(logged).fetch_one(&mut *database).await?;
    report.row("entries of the log that stand for 'all'", after - before);
    query("ANALYZE").execute(&mut *database).await?;
    Ok(())
}

/// Starts a gateway on an empty Redis, and asks it all the while.
async fn start_and_warm_up(site: &Site, report: &mut Report) -> Result<Replica> {
    empty_redis(site).await?;
    let began = Instant::now();
    let gateway = site.replica("gateway-many", &[]).await?;
    report.row("from start to listening", seconds(began.elapsed()));
    let mut first_answer = None;
    let mut latencies = Vec::new();
    let whole = std::cell::Cell::new(None);
    let asking = async {
        let mut connection = Connection::to(gateway.address());
        for number in 1.. {
            if whole.get().is_some() || number > site.options.keys {
                break;
            }
            let asked = Instant::now();
            let answer = connection.send(&chat(&bulk_key(number), "bulk-1")).await?;
            if answer.status != 200 {
                return Err(format!("a request during the warm-up got {}", answer.status).into());
            }
            first_answer.get_or_insert(began.elapsed());
            latencies.push(asked.elapsed());
        }
        Ok(())
    };
    let warming = async {
        site.redis_is_whole().await?;
        whole.set(Some(began.elapsed()));
        Ok(())
    };
    let (asked, warmed): (Result<()>, Result<()>) = join(asking, warming).await;
    asked?;
    warmed?;
    latencies.sort_unstable();
    let whole = whole.get().unwrap_or_default();
    let first = first_answer.unwrap_or_default();
    report.row("from start to the first answer", seconds(first));
    report.row("from start to a whole Redis", seconds(whole));
    // With few keys a warm-up may well be quicker than the first request.
    report.bar(
        "answered before the warm-up ended",
        latencies.len(),
        first < whole,
    );
    report.row("  latency of these, p50 / p99", two(&latencies));
    report.row(
        "memory at most during the warm-up",
        mebibytes(memory(&gateway, "VmHWM:")?),
    );
    report.row("memory after it", mebibytes(memory(&gateway, "VmRSS:")?));
    Ok(gateway)
}

async fn empty_redis(site: &Site) -> Result<()> {
    let client = redis::Client::open(site.options.redis_url.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let () = redis::cmd("FLUSHALL")
        .arg("ASYNC")
        .query_async(&mut redis)
        .await?;
    Ok(())
}

/// Each tier answers the same question, about keys that the tiers above it don't hold.
async fn time_tiers(site: &Site, gateway: &Replica, report: &Report) -> Result<()> {
    report.title("A request, by the tier that knows its key, p50 / p99");
    let without_redis = site
        .replica("gateway-database", &[("REDIS_URL", "none")])
        .await?;
    // From the end of the list, where nobody has asked yet.
    let fresh = |number: usize| bulk_key(site.options.keys.saturating_sub(number).max(1));
    let memory = time_requests(gateway, 0..LOOKUPS, Duration::ZERO, |_| bulk_key(1)).await?;
    let redis = time_requests(gateway, 0..LOOKUPS, Duration::ZERO, fresh).await?;
    let (one_by_one, in_a_row) = (0..LOOKUPS_IN_DATABASE, LOOKUPS_IN_DATABASE..LOOKUPS);
    let database = time_requests(&without_redis, one_by_one, PAUSE, fresh).await?;
    let paced = time_requests(&without_redis, in_a_row, Duration::ZERO, fresh).await?;
    report.row("memory", two(&memory));
    report.row("Redis", two(&redis));
    report.row("database, at most 100 a second", two(&database));
    report.row("database, one after another (paced)", two(&paced));
    Ok(())
}

async fn time_requests(
    gateway: &Replica,
    numbers: Range<usize>,
    pause: Duration,
    key: impl Fn(usize) -> String,
) -> Result<Vec<Duration>> {
    let mut connection = Connection::to(gateway.address());
    connection.send(&chat(&bulk_key(1), "bulk-1")).await?;
    let mut latencies = Vec::new();
    for number in numbers {
        sleep(pause).await;
        let request = chat(&key(number), "bulk-1");
        let began = Instant::now();
        let status = connection.send(&request).await?.status;
        if status != 200 {
            return Err(format!("a timed request got {status}").into());
        }
        latencies.push(began.elapsed());
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// Asks for more different keys than may be held, then for as many unknown ones.
async fn fill_memory(gateway: &Replica, keys: usize, report: &Report) -> Result<()> {
    report.title(&format!(
        "Memory of the process at its bound, {MEMORY_ENTRIES} entries each"
    ));
    let count = (MEMORY_ENTRIES * 6 / 5).min(keys);
    let before = memory(gateway, "VmRSS:")?;
    ask_all(gateway, (1..=count).map(bulk_key)).await;
    let with_keys = memory(gateway, "VmRSS:")?;
    let unknown = (1..=count).map(|number| format!("sk-{number:08x}-ffff-4fff-8fff-ffffffffffff"));
    ask_all(gateway, unknown).await;
    let with_unknown = memory(gateway, "VmRSS:")?;
    report.row("before", mebibytes(before));
    report.row(&format!("after {count} active keys"), mebibytes(with_keys));
    report.row(
        &format!("after {count} unknown keys, too"),
        mebibytes(with_unknown),
    );
    let held = (count.min(MEMORY_ENTRIES) * 2) as u64;
    let each = with_unknown.saturating_sub(before) / held.max(1);
    report.row("an entry", format!("{each} bytes"));
    Ok(())
}

/// As fast as it goes; an unknown model keeps the provider out of it.
async fn ask_all(gateway: &Replica, mut keys: impl Iterator<Item = String> + 'static) {
    let next = move || keys.next().map(|key| chat(&key, NO_MODEL));
    Load::start(&[gateway.address()], 1e6, next).end().await;
}

async fn grow_and_prune(
    site: &Site,
    database: &mut PgConnection,
    report: &mut Report,
) -> Result<()> {
    report.title("The change log");
    let began = Instant::now();
    let changes = site.options.changes;
    let many = many_changes(changes);
    sqlx::raw_sql(many).execute(&mut *database).await?;
    report.row(
        &format!("{changes} changes by SQL took"),
        seconds(began.elapsed()),
    );
    let (rows, bytes) = log_size(database).await?;
    report.row(
        "then: entries, on disk",
        format!("{rows}, {}", mebibytes(bytes)),
    );
    // A Redis that lost its mark is filled anew, and that prunes.
    empty_redis(site).await?;
    until("the log to be pruned", async || {
        let size = async { log_size(&mut site.database().await?).await };
        size.await.is_ok_and(|(rows, _)| rows <= KEPT_VERSIONS)
    })
    .await?;
    site.redis_is_whole().await?;
    query("VACUUM changes").execute(&mut *database).await?;
    let (rows, bytes) = log_size(database).await?;
    report.must("pruned: entries", rows, rows <= KEPT_VERSIONS);
    report.row("  on disk", mebibytes(bytes));
    Ok(())
}

async fn log_size(database: &mut PgConnection) -> Result<(i64, u64)> {
    let rows = query_scalar("SELECT count(*) FROM changes")
        .fetch_one(&mut *database)
        .await?;
    let bytes: i64 = query_scalar("SELECT pg_total_relation_size('changes')")
        .fetch_one(database)
        .await?;
    Ok((rows, bytes.unsigned_abs()))
}

/// The same mutations on SQLite, whose triggers log row by row.
async fn sqlite(site: &Site, report: &mut Report) -> Result<()> {
    let file = site.options.folder.join("gateway.db");
    let url = format!("sqlite://{}", file.display());
    let settings = [("DATABASE_URL", url.as_str()), ("REDIS_URL", "none")];
    let gateway = site.replica("gateway-sqlite", &settings).await?;
    for _ in 0..10 {
        gateway.issue().await?;
    }
    let few = time_mutations(&gateway).await?;
    let keys = site.options.keys / SQLITE_SHARE;
    let mut database = SqliteConnection::connect(&url).await?;
    let began = Instant::now();
    query(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1) \
         INSERT INTO user_keys (id, name, key_hash, key_prefix) \
         SELECT randomblob(16), 'bulk', lower(hex(randomblob(32))), 'sk-bulk' FROM numbers",
    )
    .bind(i64::try_from(keys)?)
    .execute(&mut database)
    .await?;
    let filled = began.elapsed();
    database.close().await?;
    let many = time_mutations(&gateway).await?;
    compare(report, "SQLite", keys, few, many);
    report.row("these keys were inserted in", seconds(filled));
    Ok(())
}

fn two(sorted: &[Duration]) -> String {
    format!(
        "{} / {}",
        ms(percentile(sorted, 0.5)),
        ms(percentile(sorted, 0.99))
    )
}

/// A figure of a gateway's memory in bytes: `VmRSS:` now, `VmHWM:` at most so far. Linux tells.
fn memory(gateway: &Replica, name: &str) -> Result<u64> {
    let id = gateway.process_id().ok_or("the gateway has ended")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or("no such figure")? * 1024)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
