//! Keys revoked and rotated and routes changed, and on every replica a probe that asks without a
//! pause who still goes by what was before.

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Result,
    http::{Answer, Connection, chat},
    load::percentile,
    report::{Report, ms},
    site::{Key, text},
    stage::Stage,
};

/// New answers in a row after which a probe believes that the old one is gone.
const ENOUGH: usize = 3;
/// A probe that sees the old answer for so long gives up; far beyond every promise.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How often at most listening connections are lost, and by how much the time until the first
/// change grows.
const LISTENER_ROUNDS: usize = 5;
const LISTENER_STEP: Duration = Duration::from_millis(150);
/// No replica may go by what was before for longer than its lease.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// What the probes saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) tries: usize,
    /// Old answers to requests that began after the call had returned, where the call was made.
    pub(crate) stale_here: usize,
    /// Elsewhere.
    pub(crate) stale_elsewhere: usize,
    /// For each try and other replica: from the call's return to the last such request.
    pub(crate) lags: Vec<Duration>,
    /// New keys that were refused at first, where they were made and elsewhere.
    pub(crate) new_refused_here: usize,
    pub(crate) new_refused_elsewhere: usize,
    /// Requests of probes that got neither answer, by status; 0 stands for none.
    pub(crate) odd: BTreeMap<u16, usize>,
}

/// What an answer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Old,
    New,
    Neither,
}

#[derive(Debug, Default)]
struct Probe {
    stale: usize,
    lag: Duration,
    odd: BTreeMap<u16, usize>,
}

impl Tally {
    pub(crate) fn lag(&self, share: f64) -> Duration {
        let mut lags = self.lags.clone();
        lags.sort_unstable();
        percentile(&lags, share)
    }

    fn add(&mut self, here: usize, probes: Vec<Probe>) {
        self.tries += 1;
        for (index, probe) in probes.into_iter().enumerate() {
            for (status, count) in probe.odd {
                *self.odd.entry(status).or_default() += count;
            }
            if index == here {
                self.stale_here += probe.stale;
            } else {
                self.stale_elsewhere += probe.stale;
                self.lags.push(probe.lag);
            }
        }
    }

    /// Answers that were neither the old one nor the new one.
    fn show_odd(&self, report: &mut Report) {
        for (status, count) in &self.odd {
            report.must(&format!("  probes answered with {status}"), count, false);
        }
    }

    pub(crate) fn show_lags(&self, report: &Report) {
        report.row(
            "  elsewhere: accepted after it returned",
            self.stale_elsewhere,
        );
        let lags = [0.5, 0.99, 1.0].map(|share| ms(self.lag(share)));
        report.row("  elsewhere: lag, p50 / p99 / maximum", lags.join(" / "));
    }
}

/// Makes probes ask on every replica while `change` runs, and until they all see the new state.
/// `change` answers whether it succeeded.
async fn watch(
    stage: &Stage,
    request: &[u8],
    see: impl Fn(&Answer) -> Seen,
    change: impl Future<Output = Result<bool>>,
) -> Result<Option<Vec<Probe>>> {
    let returned = Cell::new(None);
    let is_off = Cell::new(false);
    let probes = stage.replicas.iter().map(|replica| {
        let connection = Connection::to(replica.address());
        probe(connection, request, &see, &returned, &is_off)
    });
    let change = async {
        let result = change.await;
        returned.set(Some(Instant::now()));
        is_off.set(!matches!(result, Ok(true)));
        result
    };
    let (changed, probes) = join(change, join_all(probes)).await;
    Ok(changed?.then_some(probes))
}

async fn probe(
    mut connection: Connection,
    request: &[u8],
    see: &impl Fn(&Answer) -> Seen,
    returned: &Cell<Option<Instant>>,
    is_off: &Cell<bool>,
) -> Probe {
    let mut found = Probe::default();
    let mut new_in_a_row = 0;
    while new_in_a_row < ENOUGH && !is_off.get() {
        let began = Instant::now();
        let answer = connection.send(request).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        let seen = answer.map_or(Seen::Neither, |answer| see(&answer));
        let Some(since) = returned
            .get()
            .and_then(|at| began.checked_duration_since(at))
        else {
            continue;
        };
        match seen {
            Seen::New => new_in_a_row += 1,
            Seen::Neither => *found.odd.entry(status).or_default() += 1,
            Seen::Old => {
                found.stale += 1;
                found.lag = since;
                new_in_a_row = 0;
            }
        }
        if since > GIVE_UP {
            return found;
        }
    }
    found
}

/// Issues a key on one replica, uses it on all, then revokes it or rotates it there.
pub(crate) async fn end_a_key(
    stage: &Stage,
    here: usize,
    rotate: bool,
    tally: &mut Tally,
) -> Result<()> {
    let key = stage.replicas[here].issue().await?;
    use_everywhere(stage, here, &key.key, tally).await?;
    let request = chat(&key.key, &stage.models[0]);
    let see = |answer: &Answer| match answer.status {
        200 => Seen::Old,
        401 => Seen::New,
        _ => Seen::Neither,
    };
    let next = Cell::new(None);
    let change = async {
        if rotate {
            next.set(rotate_key(stage, here, &key).await?);
            return Ok(true);
        }
        let path = format!("/admin/keys/{}", key.id);
        let (status, _) = stage.replicas[here]
            .admin("DELETE", &path, Value::Null)
            .await?;
        Ok(status == 204)
    };
    let probes = watch(stage, &request, see, change).await?;
    tally.add(here, probes.ok_or("a revocation was refused")?);
    if let Some(next) = next.take() {
        use_everywhere(stage, here, &next, tally).await?;
    }
    Ok(())
}

async fn rotate_key(stage: &Stage, here: usize, key: &Key) -> Result<Option<String>> {
    let path = format!("/admin/keys/{}/rotate", key.id);
    match stage.replicas[here]
        .admin("POST", &path, Value::Null)
        .await?
    {
        (200, rotated) => Ok(Some(text(&rotated, "key"))),
        (status, answer) => Err(format!("rotate: {status} {answer}").into()),
    }
}

async fn use_everywhere(stage: &Stage, here: usize, key: &str, tally: &mut Tally) -> Result<()> {
    for (index, replica) in stage.replicas.iter().enumerate() {
        if replica.ask(key, &stage.models[0]).await? != 200 {
            match index == here {
                true => tally.new_refused_here += 1,
                false => tally.new_refused_elsewhere += 1,
            }
        }
    }
    Ok(())
}

/// Changes what the provider calls a model. The mock provider repeats the name that it got.
async fn change_a_route(stage: &Stage, number: usize, tally: &mut Tally) -> Result<()> {
    let here = number % stage.replicas.len();
    let (name, id) = &stage.changing[number % stage.changing.len()];
    let new_name = format!("version-{number}");
    let request = chat(&stage.keys[0].key, name);
    let expected = format!(r#""model":"{new_name}""#);
    let see = |answer: &Answer| match answer.status {
        200 if contains(&answer.body, expected.as_bytes()) => Seen::New,
        200 => Seen::Old,
        _ => Seen::Neither,
    };
    let change = async {
        let (path, body) = (
            format!("/admin/models/{id}"),
            json!({"provider_model_name": new_name}),
        );
        let (status, _) = stage.replicas[here].admin("PUT", &path, body).await?;
        Ok(status == 200)
    };
    let probes = watch(stage, &request, see, change).await?;
    tally.add(here, probes.ok_or("a change of a route was refused")?);
    Ok(())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The first act: everything works, and much changes.
pub(crate) async fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let options = &stage.site.options;
    report.title(&format!("Changes under {} requests/s", options.rate));
    let mut traffic = stage.traffic();
    let (began, statements) = (Instant::now(), stage.site.statements().await?);
    let (mut keys, mut routes) = (Tally::default(), Tally::default());
    for number in 0..options.revocations {
        let here = number % stage.replicas.len();
        end_a_key(stage, here, number % 2 == 1, &mut keys).await?;
    }
    for number in 0..options.route_changes {
        change_a_route(stage, number, &mut routes).await?;
    }
    let ended = Instant::now();
    let statements = stage.site.statements().await? - statements;
    traffic.stop().await;
    let figures = traffic.between(began, ended);

    report.row("keys revoked or rotated, in turn", keys.tries);
    report.must(
        "  same replica: accepted after it returned",
        keys.stale_here,
        keys.stale_here == 0,
    );
    keys.show_lags(report);
    show_bars(report, &keys);
    report.must(
        "  same replica: new keys refused",
        keys.new_refused_here,
        keys.new_refused_here == 0,
    );
    report.row(
        "  elsewhere: new keys refused at first",
        keys.new_refused_elsewhere,
    );
    report.row("routes changed", routes.tries);
    report.must(
        "  same replica: old route after it returned",
        routes.stale_here,
        routes.stale_here == 0,
    );
    routes.show_lags(report);
    show_bars(report, &routes);
    for tally in [&keys, &routes] {
        tally.show_odd(report);
    }
    report.row("allowed requests meanwhile", figures.count());
    report.must("  wrongly refused", figures.refused, figures.refused == 0);
    report.must("  failed", figures.failed, figures.failed == 0);
    report.row(
        "  latency, p50 / p99",
        format!("{} / {}", ms(figures.latency(0.5)), ms(figures.p99())),
    );
    let each = statements as f64 / (keys.tries + routes.tries) as f64;
    report.row(
        "SQL statements per change, three replicas together",
        format!("{each:.1}"),
    );
    Ok(())
}

fn show_bars(report: &mut Report, tally: &Tally) {
    let (p99, most) = (tally.lag(0.99), tally.lag(1.0));
    report.bar(
        "  elsewhere: lag p99 under 20 ms",
        ms(p99),
        p99 < Duration::from_millis(20),
    );
    report.must(
        "  elsewhere: lag within the lease of 1 s",
        ms(most),
        most <= LEASE,
    );
}

/// With the listening connection gone, or hanging, replicas still hear of changes in time.
pub(crate) async fn run_without_listeners(stage: &Stage, report: &mut Report) -> Result<()> {
    report.title("Changes while no replica can listen");
    for (name, freezes) in [("cut", false), ("frozen", true)] {
        let mut tally = Tally::default();
        let revocations = stage.site.options.revocations;
        for round in 0..LISTENER_ROUNDS.min(revocations.div_ceil(10)) {
            lose_listeners(stage, freezes, LISTENER_STEP * round as u32).await;
            for number in 0..revocations.div_ceil(200) {
                let here = number % stage.replicas.len();
                end_a_key(stage, here, false, &mut tally).await?;
            }
        }
        mend_listeners(stage).await;
        report.row(
            &format!("listening connections {name}: keys revoked"),
            tally.tries,
        );
        let stale = tally.stale_here;
        report.must(
            "  same replica: accepted after it returned",
            stale,
            stale == 0,
        );
        tally.show_lags(report);
        let most = tally.lag(1.0);
        report.must(
            "  elsewhere: lag within the lease of 1 s",
            ms(most),
            most <= LEASE,
        );
    }
    Ok(())
}

/// Each round another time passes between the loss and the first change, because what a replica
/// does about it takes several steps.
async fn lose_listeners(stage: &Stage, freezes: bool, before_the_change: Duration) {
    mend_listeners(stage).await;
    for cable in stage
        .replicas
        .iter()
        .filter_map(|replica| replica.to_listener.as_ref())
    {
        match freezes {
            true => cable.freeze(),
            false => cable.cut(),
        }
    }
    sleep(before_the_change).await;
}

async fn mend_listeners(stage: &Stage) {
    for cable in stage
        .replicas
        .iter()
        .filter_map(|replica| replica.to_listener.as_ref())
    {
        cable.mend();
    }
    // A lost connection is noticed and opened anew within this time.
    sleep(LEASE).await;
}
