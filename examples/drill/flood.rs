//! Floods of what nobody knows, keys and models, beside traffic that is allowed and keys that are
//! used for the first time.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    Result,
    http::chat,
    load::{Figures, Load},
    report::{Report, ms},
    site::{Act, Server},
    stage::Stage,
};

/// What a flood may cost the database, per replica.
const MOST_STATEMENTS: f64 = 200.0;
/// Keys that are used for the first time during a flood, on each replica.
const NEWCOMERS: usize = 100;
/// `CACHE_TIMEOUT`, by default.
const CACHE_TIMEOUT: Duration = Duration::from_millis(100);
/// A look-up that took so long waited for a Redis that hangs; the database takes far less.
const A_WAIT: Duration = Duration::from_millis(80);
/// What the database and a busy machine may add to a wait for Redis.
const ALLOWANCE: Duration = Duration::from_millis(100);

/// What nobody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Keys,
    /// By a caller whose key is good.
    Models,
}

/// What is done to Redis, which comes back when the flood is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redis {
    Stays,
    KilledBefore,
    FrozenMeanwhile,
}

struct Flood {
    name: &'static str,
    unknown: Unknown,
    redis: Redis,
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "keys, with Redis",
        unknown: Unknown::Keys,
        redis: Redis::Stays,
    },
    Flood {
        name: "keys, without Redis",
        unknown: Unknown::Keys,
        redis: Redis::KilledBefore,
    },
    Flood {
        name: "keys, Redis frozen meanwhile",
        unknown: Unknown::Keys,
        redis: Redis::FrozenMeanwhile,
    },
    Flood {
        name: "models, without Redis",
        unknown: Unknown::Models,
        redis: Redis::KilledBefore,
    },
];

/// What one flood came to.
struct Course {
    /// Of the allowed traffic.
    before: Figures,
    during: Figures,
    unknown: Figures,
    newcomers: Figures,
    /// In the database, for each replica and second.
    statements: f64,
    /// Of the flood, in a second.
    rate: f64,
}

pub(crate) async fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let options = &stage.site.options;
    report.title(&format!(
        "Floods of {} unknown names at {} a second, beside {} allowed requests/s",
        options.unknown_keys, options.unknown_rate, options.rate
    ));
    for flood in FLOODS {
        let course = course_of(stage, flood).await?;
        judge(report, flood, &course);
    }
    Ok(())
}

async fn course_of(stage: &Stage, flood: &Flood) -> Result<Course> {
    stage.warm_up().await?;
    let newcomers = new_keys(stage).await?;
    let mut traffic = stage.traffic();
    let calm = stage.site.options.calm;
    // Connections are opened in the first moments.
    sleep(calm / 6).await;
    let began = Instant::now();
    sleep(calm).await;
    let calm_over = Instant::now();
    if flood.redis == Redis::KilledBefore {
        stage.site.act(Server::Redis, Act::Kill).await?;
    }
    let statements = stage.site.statements().await?;
    let flooded = Instant::now();
    let mut unknown = pour(stage, flood.unknown);
    let mut newcomers = introduce(stage, newcomers);
    if flood.redis == Redis::FrozenMeanwhile {
        sleep(calm / 3).await;
        stage.site.act(Server::Redis, Act::Freeze).await?;
        if unknown.is_over() {
            return Err("the flood was over before Redis was frozen: more --unknown-keys".into());
        }
    }
    unknown.end().await;
    let ended = Instant::now();
    newcomers.stop().await;
    let statements = stage.site.statements().await? - statements;
    traffic.stop().await;
    match flood.redis {
        Redis::Stays => {}
        Redis::KilledBefore => stage.site.act(Server::Redis, Act::Start).await?,
        Redis::FrozenMeanwhile => stage.site.act(Server::Redis, Act::Wake).await?,
    }
    stage.site.redis_is_whole().await?;
    let seconds = (ended - flooded).as_secs_f64();
    let unknown = unknown.between(flooded, ended);
    Ok(Course {
        before: traffic.between(began, calm_over),
        during: traffic.between(flooded, ended),
        newcomers: newcomers.between(flooded, ended),
        statements: statements as f64 / seconds / stage.replicas.len() as f64,
        rate: unknown.count() as f64 / seconds,
        unknown,
    })
}

/// Starts the flood.
fn pour(stage: &Stage, unknown: Unknown) -> Load {
    let options = &stage.site.options;
    let key = stage.keys[0].key.clone();
    let mut left = options.unknown_keys;
    Load::start(&stage.addresses(), options.unknown_rate, move || {
        left = left.checked_sub(1)?;
        let name = Uuid::new_v4();
        Some(match unknown {
            Unknown::Keys => chat(&format!("sk-{name}"), "model-0"),
            Unknown::Models => chat(&key, &format!("model-{name}")),
        })
    })
}

async fn new_keys(stage: &Stage) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for number in 0..NEWCOMERS {
        let replica = &stage.replicas[number % stage.replicas.len()];
        keys.push(replica.issue().await?.key);
    }
    Ok(keys)
}

/// Starts using new keys, each once on each replica, all through the flood.
fn introduce(stage: &Stage, keys: Vec<String>) -> Load {
    let (replicas, options) = (stage.replicas.len(), &stage.site.options);
    let length = options.unknown_keys as f64 / options.unknown_rate;
    let rate = (keys.len() * replicas) as f64 / length;
    let model = stage.models[0].clone();
    // Consecutive requests go to consecutive replicas.
    let requests = keys.into_iter().flat_map(move |key| {
        let request = chat(&key, &model);
        std::iter::repeat_n(request, replicas)
    });
    let mut requests = requests.collect::<Vec<_>>().into_iter();
    Load::start(&stage.addresses(), rate, move || requests.next())
}

fn judge(report: &mut Report, flood: &Flood, course: &Course) {
    let Course {
        before,
        during,
        unknown,
        newcomers,
        ..
    } = course;
    report.row(flood.name, format!("{:.0} a second", course.rate));
    report.must("  accepted", unknown.served, unknown.served == 0);
    report.row("  refused with 401 or 404", unknown.refused);
    report.row("  answered 503, or not at all", unknown.failed);
    for (name, figures) in [
        ("  allowed requests", during),
        ("  first uses of a key", newcomers),
    ] {
        let (refused, failed) = (figures.refused, figures.failed);
        report.must(
            &format!("{name}: wrongly refused, failed"),
            format!("{refused}, {failed} of {}", figures.count()),
            refused + failed == 0,
        );
    }
    report.row(
        "  first uses of a key: latency, p50 / p99",
        format!("{} / {}", ms(newcomers.latency(0.5)), ms(newcomers.p99())),
    );
    report.must(
        "  SQL statements a second per replica, at most 200",
        format!("{:.0}", course.statements),
        course.statements <= MOST_STATEMENTS,
    );
    report.bar(
        "  allowed: p99 before / during, at most 2 times",
        format!("{} / {}", ms(before.p99()), ms(during.p99())),
        during.p99() <= before.p99() * 2,
    );
    if flood.redis == Redis::FrozenMeanwhile {
        judge_waits(report, unknown);
    }
}

/// A Redis that hangs is waited for by few, and not for long.
fn judge_waits(report: &mut Report, unknown: &Figures) {
    let waits = unknown.longer_than(A_WAIT);
    report.bar(
        "  waited for Redis, at most one in a hundred",
        format!("{waits} of {}", unknown.count()),
        waits * 100 <= unknown.count(),
    );
    let longest = unknown.longest();
    report.bar(
        "  longest answer, at most CACHE_TIMEOUT (100 ms) + 100 ms",
        ms(longest),
        longest <= CACHE_TIMEOUT + ALLOWANCE,
    );
}
