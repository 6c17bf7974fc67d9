//! A flood of distinct keys that are well formed and unknown, beside traffic that is allowed.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    Result,
    http::chat,
    load::Load,
    report::{Report, ms},
    site::{Act, Server},
    stage::Stage,
};

/// What a flood may cost the database, per replica.
const MOST_STATEMENTS: f64 = 200.0;
/// How long the allowed traffic is watched before.
const CALM: Duration = Duration::from_secs(4);

pub(crate) async fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let options = &stage.site.options;
    report.title(&format!(
        "Floods of {} unknown keys at {} a second, beside {} allowed requests/s",
        options.unknown_keys, options.unknown_rate, options.rate
    ));
    report.row("with Redis", "");
    one(stage, report).await?;
    stage.site.act(Server::Redis, Act::Kill).await?;
    report.row("without Redis", "");
    let result = one(stage, report).await;
    stage.site.act(Server::Redis, Act::Start).await?;
    result?;
    stage.site.redis_is_whole().await
}

async fn one(stage: &Stage, report: &mut Report) -> Result<()> {
    let options = &stage.site.options;
    stage.warm_up().await?;
    let mut traffic = stage.traffic();
    sleep(CALM / 8).await;
    let began = Instant::now();
    sleep(CALM).await;
    let statements = stage.site.statements().await?;
    let flooded = Instant::now();
    let mut left = options.unknown_keys;
    let mut flood = Load::start(&stage.addresses(), options.unknown_rate, move || {
        left = left.checked_sub(1)?;
        Some(chat(&format!("sk-{}", Uuid::new_v4()), "model-0"))
    });
    flood.end().await;
    let ended = Instant::now();
    let statements = stage.site.statements().await? - statements;
    traffic.stop().await;
    let (before, during) = (
        traffic.between(began, flooded),
        traffic.between(flooded, ended),
    );
    let unknown = flood.between(flooded, ended);

    report.must(
        "  unknown keys accepted",
        unknown.served,
        unknown.served == 0,
    );
    report.row("  refused with 401", unknown.refused);
    report.row("  answered 503, or not at all", unknown.failed);
    report.must(
        "  allowed requests wrongly refused",
        during.refused,
        during.refused == 0,
    );
    report.must(
        "  allowed requests failed",
        during.failed,
        during.failed == 0,
    );
    let seconds = (ended - flooded).as_secs_f64();
    let rate = statements as f64 / seconds / stage.replicas.len() as f64;
    let achieved = unknown.count() as f64 / seconds;
    report.row("  unknown keys a second", format!("{achieved:.0}"));
    report.bar(
        "  SQL statements a second per replica, at most 200",
        format!("{rate:.0}"),
        rate <= MOST_STATEMENTS,
    );
    let (p99, most) = (during.p99(), before.p99() * 2);
    report.bar(
        "  allowed: p99 before / during, at most 2 times",
        format!("{} / {}", ms(before.p99()), ms(p99)),
        p99 <= most,
    );
    Ok(())
}
