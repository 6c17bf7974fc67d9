//! A gateway is frozen, as a paused container or an overloaded machine does, and wakes long after
//! the others have gone on. What it was about to write is refused, and it serves nothing that
//! ended meanwhile.

use crate::{
    cable::Cable,
    oracle::Trouble,
    site::{Plan, Site},
};

const SLEEPER: usize = 0;
const OTHER: usize = 1;

impl Site {
    /// Lets the sleeper go on, and holds it again as soon as it has come to `point`.
    async fn wake_until(&self, held_at: &str, point: &str) {
        let sleeper = &self.replicas[SLEEPER];
        sleeper.arm(point);
        sleeper.release(held_at);
        sleeper.wake();
        sleeper.reached(point).await;
    }
}

#[actix_web::test]
async fn a_replica_that_slept_serves_nothing_that_ended_meanwhile() {
    let site = Site::with(3).await;
    let sleeper = &site.replicas[SLEEPER];
    site.under_load(async {
        let asleep = site
            .trouble(&[SLEEPER], Trouble::Silent, sleeper.freeze())
            .await;
        site.lease_passes().await;
        site.changes_pass(20).await;
        sleeper.wake();
        site.over(asleep);
        site.ask_for_ended(SLEEPER).await;
    })
    .await;
}

/// It can't be told of anything, so it has to know by itself that it knows nothing.
#[actix_web::test]
async fn a_replica_that_slept_and_wakes_without_the_database_asks_redis() {
    let site = Site::with(3).await;
    let sleeper = &site.replicas[SLEEPER];
    site.under_load(async {
        let quiet = site.changing.write().await;
        let key = site.issue(OTHER).await.expect("a key");
        // Nothing is invalidated any more, so that it has the key in memory then.
        site.all_is_heard().await;
        site.everywhere(&key, 200).await;
        let asleep = site
            .trouble(&[SLEEPER], Trouble::Silent, sleeper.freeze())
            .await;
        let losing = async { sleeper.lose_database(Cable::freeze) };
        let deaf = site.trouble(&[SLEEPER], Trouble::Deaf, losing).await;
        assert!(site.revoke(OTHER, &key).await);
        drop(quiet);
        site.lease_passes().await;
        sleeper.wake();
        site.over(asleep);
        assert_eq!(site.ask(SLEEPER, &key).await, Some(401));
        site.changes_pass(10).await;
        sleeper.find_database();
        sleeper.reaches_database().await;
        site.over(deaf);
    })
    .await;
}

/// Nobody changes anything while another one does; but not for as long as that one sleeps.
#[actix_web::test]
async fn a_replica_that_sleeps_in_the_middle_of_a_change_holds_up_nobody_for_long() {
    let site = Site::with(2).await;
    let sleeper = &site.replicas[SLEEPER];
    site.under_load(async {
        let quiet = site.changing.write().await;
        let key = site.issue(SLEEPER).await.expect("a key");
        site.everywhere(&key, 200).await;
        sleeper.arm("counter-held");
        let freezing = site.trouble(&[SLEEPER], Trouble::Silent, async {
            sleeper.reached("counter-held").await;
            sleeper.freeze().await;
        });
        let sleeping = async {
            let asleep = freezing.await;
            assert!(
                site.revoke(OTHER, &site.issue(OTHER).await.expect("a key"))
                    .await
            );
            sleeper.release("counter-held");
            sleeper.wake();
            asleep
        };
        let (asleep, revoked) = futures_util::join!(sleeping, site.revoke(SLEEPER, &key));
        assert!(!revoked, "its transaction should have been ended");
        site.over(asleep);
        drop(quiet);
        site.everywhere(&key, 200).await;
    })
    .await;
}

/// It had read that a key is active, and was about to say so to Redis.
#[actix_web::test]
async fn the_late_push_of_a_replica_that_slept_is_refused() {
    let site = Site::with(2).await;
    let (sleeper, other) = (&site.replicas[SLEEPER], &site.replicas[OTHER]);
    site.under_load(async {
        let quiet = site.changing.write().await;
        // So that the sleeper is the one who tells Redis of the new key.
        other.to_redis.cut();
        sleeper.arm("delta-read");
        let key = site.issue(OTHER).await.expect("a key");
        let asleep = site
            .trouble(&[SLEEPER], Trouble::Silent, async {
                sleeper.reached("delta-read").await;
                sleeper.freeze().await;
            })
            .await;
        other.to_redis.mend();
        site.redis_is_right().await;
        assert!(site.revoke(OTHER, &key).await);
        site.redis_is_right().await;
        let right = site.servers.in_redis().await;

        // Nobody else could mend now what it writes.
        other.to_redis.cut();
        site.wake_until("delta-read", "push-ended").await;
        assert_eq!(site.servers.in_redis().await, right);
        sleeper.release("push-ended");
        other.to_redis.mend();
        site.over(asleep);
        drop(quiet);
        assert_eq!(site.ask(SLEEPER, &key).await, Some(401));
    })
    .await;
}

/// It had written everything aside, and was about to put it in place.
#[actix_web::test]
async fn the_late_warm_up_of_a_replica_that_slept_is_refused() {
    let site = Plan::replicas(2)
        .one(SLEEPER, "CACHE_REWARM_INTERVAL", "1s")
        .open()
        .await;
    let (sleeper, other) = (&site.replicas[SLEEPER], &site.replicas[OTHER]);
    site.under_load(async {
        let quiet = site.changing.write().await;
        let key = site.issue(OTHER).await.expect("a key");
        sleeper.arm("staged");
        let asleep = site
            .trouble(&[SLEEPER], Trouble::Silent, async {
                sleeper.reached("staged").await;
                sleeper.freeze().await;
            })
            .await;
        assert!(site.revoke(OTHER, &key).await);
        site.redis_is_right().await;
        let right = site.servers.in_redis().await;

        other.to_redis.cut();
        site.wake_until("staged", "warm-up-ended").await;
        assert_eq!(site.servers.in_redis().await, right);
        sleeper.release("warm-up-ended");
        other.to_redis.mend();
        site.over(asleep);
        drop(quiet);
        assert_eq!(site.ask(SLEEPER, &key).await, Some(401));
    })
    .await;
}
