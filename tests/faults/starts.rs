//! A gateway starts while its servers are away: it doesn't end, serves what it can, and finds them
//! when they are back.

use std::time::Duration;

use crate::{oracle::Trouble, site::Plan};

const LATE: usize = 2;
/// `STALE_GRACE` by default; longer than any test.
const GRACE: Duration = Duration::from_secs(15 * 60);

#[actix_web::test]
async fn a_start_without_postgres_serves_from_a_whole_redis() {
    let site = Plan::replicas(3).open_without(&[LATE]).await;
    let late = &site.replicas[LATE];
    let not_there = site
        .history
        .borrow_mut()
        .begin(LATE, Trouble::Silent, site.now());
    site.under_load(async {
        let killing = site.servers.strike("postgres", "kill");
        let lost = site.lose_database(killing).await;
        late.start().await;
        site.over(vec![not_there]);
        let process = late.process_id();
        let steady = site.pool.borrow().steady()[0].clone();
        assert_eq!(site.ask(LATE, &steady).await, Some(200));
        late.becomes("ready").await;
        site.lease_passes().await;
        site.servers.strike("postgres", "start").await;
        site.find_database(lost).await;
        assert_eq!(late.process_id(), process);
    })
    .await;
}

#[actix_web::test]
async fn a_start_without_either_waits_for_them() {
    let site = Plan::replicas(3).open_without(&[LATE]).await;
    let late = &site.replicas[LATE];
    let not_there = site
        .history
        .borrow_mut()
        .begin(LATE, Trouble::Silent, site.now());
    site.under_load(async {
        let cut_off = Trouble::CutOff { grace: GRACE };
        // Who knows that something changed, and not what, has nothing left to serve.
        let quiet = site.changing.write().await;
        site.all_is_heard().await;
        let windows = site
            .trouble(&site.all(), cut_off, async {
                site.servers.strike("postgres", "kill").await;
                site.servers.strike("redis", "kill").await;
            })
            .await;
        drop(quiet);
        late.start().await;
        site.over(vec![not_there]);
        let process = late.process_id();
        late.becomes("unavailable").await;
        let steady = site.pool.borrow().steady()[0].clone();
        assert_eq!(site.ask(LATE, &steady).await, Some(503));
        // Those that were there before go on with what they held.
        assert_eq!(site.ask(0, &steady).await, Some(200));
        site.lease_passes().await;
        // An empty Redis alone helps nobody.
        site.servers.strike("redis", "start").await;
        site.lease_passes().await;
        assert_eq!(site.ask(LATE, &steady).await, Some(503));
        site.servers.strike("postgres", "start").await;
        site.find_database(windows).await;
        assert_eq!(late.process_id(), process);
        assert_eq!(site.ask(LATE, &steady).await, Some(200));
    })
    .await;
}
