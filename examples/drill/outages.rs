//! Redis, PostgreSQL or both are killed or frozen under traffic, and come back.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::{
    Result,
    changes::{LEASE, Tally, end_a_key},
    load::Figures,
    report::{Report, ms, seconds},
    site::{
        Act::{Freeze, Kill, Start, Wake},
        Server::{Postgres, Redis},
        until,
    },
    stage::Stage,
};

/// Keys that are revoked during an outage of Redis.
const REVOCATIONS: usize = 20;
struct Outage {
    name: &'static str,
    servers: &'static [crate::site::Server],
    freezes: bool,
}

const OUTAGES: &[Outage] = &[
    outage("Redis killed", &[Redis], false),
    outage("Redis frozen", &[Redis], true),
    outage("PostgreSQL killed", &[Postgres], false),
    outage("PostgreSQL frozen", &[Postgres], true),
    outage("both killed", &[Redis, Postgres], false),
    outage("both frozen", &[Redis, Postgres], true),
];

const fn outage(
    name: &'static str,
    servers: &'static [crate::site::Server],
    freezes: bool,
) -> Outage {
    Outage {
        name,
        servers,
        freezes,
    }
}

/// What one outage came to.
struct Course {
    before: Figures,
    during: Figures,
    after: Figures,
    recovery: Duration,
    /// Of keys, where the database could be asked.
    tally: Tally,
    /// In the database, a second; it is asked only where it stays.
    statements: Option<f64>,
}

pub(crate) async fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    report.title(&format!(
        "Outages of {} under {} requests/s of warm traffic",
        seconds(stage.site.options.outage),
        stage.site.options.rate
    ));
    println!(
        "  {:<18} {:>8} {:>7} {:>6} {:>10} {:>10} {:>10} {:>9} {:>7}  p99 within 2 times",
        "", "requests", "refused", "failed", "p99 before", "during", "after", "recovery", "SQL/s"
    );
    let mut courses = Vec::new();
    for outage in OUTAGES {
        let course = course_of(stage, outage).await?;
        print(outage, &course);
        courses.push((outage, course));
    }
    judge(report, &courses);
    Ok(())
}

async fn course_of(stage: &Stage, outage: &Outage) -> Result<Course> {
    stage.warm_up().await?;
    let mut traffic = stage.traffic();
    let calm = stage.site.options.calm;
    // Connections are opened in the first moments.
    sleep(calm / 6).await;
    let began = Instant::now();
    sleep(calm).await;
    let asks_database = !outage.servers.contains(&Postgres);
    let statements = match asks_database {
        true => Some(stage.site.statements().await?),
        false => None,
    };
    let struck = Instant::now();
    for server in outage.servers {
        let act = if outage.freezes { Freeze } else { Kill };
        stage.site.act(*server, act).await?;
    }
    sleep(stage.site.options.outage).await;
    let measured = Instant::now();
    let statements = match statements {
        Some(before) => {
            Some((stage.site.statements().await? - before) as f64 / struck.elapsed().as_secs_f64())
        }
        None => None,
    };
    let mut tally = Tally::default();
    if asks_database {
        for number in 0..REVOCATIONS {
            end_a_key(stage, number % stage.replicas.len(), false, &mut tally).await?;
        }
    }
    for server in outage.servers {
        let act = if outage.freezes { Wake } else { Start };
        stage.site.act(*server, act).await?;
    }
    let back = Instant::now();
    recovered(stage).await?;
    let recovery = back.elapsed();
    let recovered_at = Instant::now();
    sleep(calm).await;
    let ended = Instant::now();
    traffic.stop().await;
    let whole = traffic.between(struck, recovered_at);
    // Latency without the bustle of recovery; outcomes with it.
    let mut during = traffic.between(struck, measured);
    (during.served, during.refused, during.failed) = (whole.served, whole.refused, whole.failed);
    Ok(Course {
        before: traffic.between(began, struck),
        during,
        after: traffic.between(recovered_at, ended),
        recovery,
        tally,
        statements,
    })
}

/// Every replica says that it is ready, mutates again, and Redis holds what the database holds.
async fn recovered(stage: &Stage) -> Result<()> {
    for replica in &stage.replicas {
        until("a replica to be ready", async || replica.is_ready().await).await?;
        until("admin calls to work", async || {
            let issued = replica
                .admin("POST", "/admin/keys", json!({"name": "back"}))
                .await;
            issued.is_ok_and(|(status, _)| status == 201)
        })
        .await?;
    }
    stage.site.redis_is_whole().await
}

fn is_within_bar(course: &Course) -> bool {
    course.during.p99() <= course.before.p99() * 2
}

fn print(outage: &Outage, course: &Course) {
    let requests = course.during.served + course.during.refused + course.during.failed;
    println!(
        "  {:<18} {:>8} {:>7} {:>6} {:>10} {:>10} {:>10} {:>9} {:>7}  {}",
        outage.name,
        requests,
        course.during.refused,
        course.during.failed,
        ms(course.before.p99()),
        ms(course.during.p99()),
        ms(course.after.p99()),
        seconds(course.recovery),
        course
            .statements
            .map_or("-".to_owned(), |rate| format!("{rate:.0}")),
        if is_within_bar(course) {
            "met"
        } else {
            "MISSED"
        },
    );
}

fn judge(report: &mut Report, courses: &[(&Outage, Course)]) {
    println!();
    let sum = |count: fn(&Course) -> usize| {
        courses
            .iter()
            .map(|(_, course)| count(course))
            .sum::<usize>()
    };
    let refused =
        sum(|course| course.before.refused + course.during.refused + course.after.refused);
    let failed = sum(|course| course.before.failed + course.during.failed + course.after.failed);
    report.must(
        "allowed requests wrongly refused, all outages",
        refused,
        refused == 0,
    );
    report.must("allowed requests failed, all outages", failed, failed == 0);
    report.row(
        "keys revoked without Redis",
        sum(|course| course.tally.tries),
    );
    let stale = sum(|course| course.tally.stale_here);
    report.must(
        "  same replica: accepted after it returned",
        stale,
        stale == 0,
    );
    let lags = courses.iter().map(|(_, course)| course.tally.lag(1.0));
    let most = lags.max().unwrap_or_default();
    report.must(
        "  elsewhere: lag within the lease of 1 s",
        ms(most),
        most <= LEASE,
    );
    for (outage, course) in courses.iter().filter(|(outage, _)| !outage.freezes) {
        let growth = course.during.p99().as_secs_f64() / course.before.p99().as_secs_f64();
        let name = format!("{}: p99 at most 2 times the one before", outage.name);
        report.bar(&name, format!("{growth:.2} times"), is_within_bar(course));
    }
}
