//! A gateway is killed at marked points between the commit of a change and its acknowledgement, and
//! in the middle of a warm-up. Nothing stale is in Redis soon after another replica heard of the
//! change, nor soon after a restart where there is no other.

use std::{pin::pin, rc::Rc};

use futures_util::future::{Either, select};

use crate::{
    load::Known,
    oracle::{Trouble, WindowId},
    site::{Plan, Site},
};

const VICTIM: usize = 0;
const OTHER: usize = 1;
/// Another replica may be quicker to write Redis, so that there is nothing left for the victim to
/// do at the point. Seldom, and hardly so many times in a row.
const TRIES: usize = 20;

/// How a key is ended.
#[derive(Clone, Copy)]
enum End {
    Revoke,
    Rotate,
}

impl Site {
    async fn end(&self, how: End, key: &Rc<Known>) -> bool {
        match how {
            End::Revoke => self.revoke(VICTIM, key).await,
            End::Rotate => self.rotate(VICTIM, key).await,
        }
    }

    /// Kills the victim at the point to which the end of a key brings it; answers the key.
    async fn killed_at(&self, point: &str, how: End) -> (Rc<Known>, Vec<WindowId>) {
        let _quiet = self.changing.write().await;
        let victim = &self.replicas[VICTIM];
        for _ in 0..TRIES {
            let key = self.issue(VICTIM).await.expect("a key");
            self.everywhere(&key, 200).await;
            victim.arm(point);
            if let Some(windows) = self.dies_at(point, self.end(how, &key)).await {
                return (key, windows);
            }
            victim.disarm(point);
        }
        panic!("nothing brought the gateway to `{point}`");
    }

    /// Kills the victim if `ending` brings it to the point.
    async fn dies_at(
        &self,
        point: &str,
        ending: impl Future<Output = bool>,
    ) -> Option<Vec<WindowId>> {
        let victim = &self.replicas[VICTIM];
        match select(pin!(victim.reached(point)), pin!(ending)).await {
            Either::Left(((), ending)) => {
                let (windows, acknowledged) = futures_util::join!(self.kill(VICTIM), ending);
                victim.release(point);
                assert!(!acknowledged);
                Some(windows)
            }
            Either::Right((done, _)) => {
                assert!(done);
                None
            }
        }
    }

    /// With another replica, which hears of the change; then alone, restarted.
    async fn survives_a_kill_at(&self, point: &str) {
        self.under_load(async {
            let (key, windows) = self.killed_at(point, End::Revoke).await;
            self.redis_forgets(&key).await;
            self.everywhere(&key, 401).await;
            self.changes_pass(10).await;
            self.revive(VICTIM, windows).await;
            self.redis_is_right_under_load().await;

            let leaving = self.replicas[OTHER].end("TERM");
            let other = self.trouble(&[OTHER], Trouble::Silent, leaving).await;
            let (key, windows) = self.killed_at(point, End::Rotate).await;
            let was_stale = self.servers.redis_holds(&key.hash).await;
            assert_eq!(was_stale, point != "pushed");
            self.revive(VICTIM, windows).await;
            self.redis_forgets(&key).await;
            self.everywhere(&key, 401).await;
            self.changes_pass(10).await;
            self.revive(OTHER, other).await;
        })
        .await;
    }
}

#[actix_web::test]
async fn a_kill_after_the_commit_leaves_nothing_stale() {
    Site::with(2).await.survives_a_kill_at("committed").await;
}

#[actix_web::test]
async fn a_kill_once_the_version_is_known_leaves_nothing_stale() {
    Site::with(2).await.survives_a_kill_at("known").await;
}

#[actix_web::test]
async fn a_kill_after_the_invalidation_leaves_nothing_stale() {
    Site::with(2).await.survives_a_kill_at("invalidated").await;
}

#[actix_web::test]
async fn a_kill_in_the_middle_of_a_push_leaves_nothing_stale() {
    Site::with(2).await.survives_a_kill_at("delta-read").await;
}

#[actix_web::test]
async fn a_kill_after_the_push_leaves_nothing_stale() {
    Site::with(2).await.survives_a_kill_at("pushed").await;
}

/// What was written aside is of before the change.
#[actix_web::test]
async fn a_kill_in_the_middle_of_a_warm_up_leaves_nothing_stale() {
    let site = Plan::replicas(2)
        .one(VICTIM, "CACHE_REWARM_INTERVAL", "1s")
        .open()
        .await;
    let victim = &site.replicas[VICTIM];
    site.under_load(async {
        let key = {
            let _quiet = site.changing.write().await;
            let key = site.issue(VICTIM).await.expect("a key");
            site.everywhere(&key, 200).await;
            key
        };
        victim.arm("staged");
        victim.reached("staged").await;
        assert!(site.revoke(OTHER, &key).await);
        let windows = site.kill(VICTIM).await;
        victim.release("staged");
        site.redis_forgets(&key).await;
        site.changes_pass(10).await;
        site.revive(VICTIM, windows).await;
        assert!(!site.servers.redis_holds(&key.hash).await);
    })
    .await;
}
