//! `Site`: servers, replicas and load, and what must be so when it is over. A scenario strikes what
//! it wants inside [`Site::under_load`]; the rest is the same for all of them.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    sync::RwLock,
    time::{sleep, timeout},
};

use crate::{
    load::{Known, Pool},
    oracle::{History, LEASE, Moment, Span, Tally, Trouble, WindowId},
    replica::{LOOK_EVERY, Replica},
    servers::Servers,
    support::{provider::ScriptedProvider, script::Answer as Scripted, soon},
};

/// The model that everybody asks for.
pub(crate) const MODEL: &str = "m";
/// How soon Redis must hold what the database holds, once both can be reached.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);
/// Long enough for every lease to end, and for what follows from that to show.
const LONGER_THAN_THE_LEASE: Duration = Duration::from_millis(2_500);
/// On a busy machine an answer may be late that nothing is wrong with; where Redis is all that is
/// left, that would be held against the gateway.
const CACHE_TIMEOUT: &str = "500ms";
/// Less than these were judged, and there was no load to speak of.
const LEAST_ANSWERS: usize = 50;
/// Before a scenario, and after it.
const CHANGES: usize = 20;

pub(crate) struct Site {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) pool: RefCell<Pool>,
    pub(crate) history: RefCell<History>,
    /// Whoever changes a key holds it for reading; whoever wants quiet, for writing.
    pub(crate) changing: RwLock<()>,
    pub(crate) is_over: Cell<bool>,
    origin: Instant,
    provider: ScriptedProvider,
    // Last, so that the gateways have gone before their servers go.
    pub(crate) servers: Servers,
}

/// What to build.
pub(crate) struct Plan<'a> {
    replicas: usize,
    settings: Vec<(usize, &'a str, &'a str)>,
}

impl<'a> Plan<'a> {
    pub(crate) fn replicas(replicas: usize) -> Self {
        let settings = Vec::new();
        Self { replicas, settings }.all("CACHE_TIMEOUT", CACHE_TIMEOUT)
    }

    /// A setting for every replica.
    pub(crate) fn all(mut self, name: &'a str, value: &'a str) -> Self {
        for replica in 0..self.replicas {
            self.settings.push((replica, name, value));
        }
        self
    }

    /// A setting for one replica.
    pub(crate) fn one(mut self, replica: usize, name: &'a str, value: &'a str) -> Self {
        self.settings.push((replica, name, value));
        self
    }

    /// Starts everything: a model is served, and some keys are known and warm everywhere.
    pub(crate) async fn open(self) -> Site {
        self.open_without(&[]).await
    }

    /// Everything but the replicas of these numbers.
    pub(crate) async fn open_without(self, absent: &[usize]) -> Site {
        let provider = ScriptedProvider::start().await;
        provider.otherwise(|_| Scripted::json(200, "{}"));
        let servers = Servers::start();
        let replicas = (0..self.replicas).map(|number| {
            let own = self.settings.iter().filter(|(owner, ..)| *owner == number);
            let settings: Vec<_> = own.map(|(_, name, value)| (*name, *value)).collect();
            Replica::new(&servers, number, &settings)
        });
        let site = Site {
            replicas: replicas.collect(),
            pool: RefCell::default(),
            history: RefCell::default(),
            changing: RwLock::new(()),
            is_over: Cell::new(false),
            origin: Instant::now(),
            servers,
            provider,
        };
        for (number, replica) in site.replicas.iter().enumerate() {
            if !absent.contains(&number) {
                replica.start().await;
            }
        }
        site.provision().await;
        site
    }
}

impl Site {
    pub(crate) async fn with(replicas: usize) -> Self {
        Plan::replicas(replicas).open().await
    }

    async fn provision(&self) {
        let provider = json!({
            "name": "p", "kind": "openai", "api_key": "provider-key-0123456789",
            "base_url": self.provider.base_url(),
        });
        let provider = self.create("/admin/providers", &provider).await;
        let model = json!({"name": MODEL, "provider_id": provider["id"]});
        self.create("/admin/models", &model).await;
        for _ in 0..Pool::STEADY {
            let issued = self.issue(0).await.expect("a key");
            self.pool.borrow_mut().keep(issued);
        }
        self.redis_is_right().await;
        let steady = self.pool.borrow().steady();
        for key in &steady {
            self.everywhere(key, 200).await;
        }
    }

    async fn create(&self, path: &str, body: &Value) -> Value {
        let answer = self.replicas[0]
            .admin("POST", path, &body.to_string())
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 201, "{path}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub(crate) fn now(&self) -> Moment {
        self.origin.elapsed()
    }

    pub(crate) fn since(&self, began: Moment) -> Span {
        Span {
            began,
            ended: self.now(),
        }
    }

    /// Runs a scenario while every replica is asked and changes keys without a pause. In the end
    /// Redis holds what the database holds, every replica goes by it, and no answer was wrong.
    pub(crate) async fn under_load(&self, scenario: impl Future<Output = ()>) -> Tally {
        let acting = async {
            self.changes_pass(CHANGES).await;
            scenario.await;
            self.changes_pass(CHANGES).await;
            self.is_over.set(true);
        };
        futures_util::join!(acting, self.load());
        for replica in &self.replicas {
            replica.becomes("ready").await;
        }
        self.redis_is_right().await;
        self.resolve().await;
        let tally = match self.history.borrow().judge() {
            Ok(tally) => tally,
            Err(verdict) => panic!("{verdict}"),
        };
        self.audit().await;
        let is_load = tally.accepted > LEAST_ANSWERS && tally.refused > LEAST_ANSWERS;
        assert!(is_load, "{tally:?}");
        tally
    }

    /// As [`Site::under_load`], where no change has a reason to fail.
    pub(crate) async fn under_load_and_no_change_fails(&self, scenario: impl Future<Output = ()>) {
        let tally = self.under_load(scenario).await;
        assert_eq!(tally.failed_changes, 0);
    }

    /// Looks into the database for what calls that failed have left there.
    async fn resolve(&self) {
        let active = self.servers.in_database().await.keys;
        let doubtful = self.history.borrow().doubtful();
        for id in doubtful {
            let key = self.pool.borrow().find(id);
            let is_active = active.contains(&key.hash);
            let now = self.now();
            self.history.borrow_mut().resolve(id, now, is_active);
        }
    }

    /// When nothing changes any more, every replica says of every key what the database says.
    async fn audit(&self) {
        // What was resolved a moment ago, another replica may learn of within its lease.
        sleep(LEASE).await;
        let active = self.servers.in_database().await.keys;
        let keys = self.pool.borrow().all();
        let asking = (0..self.replicas.len()).map(|replica| {
            let (active, keys) = (&active, &keys);
            async move {
                for key in keys {
                    let expected = if active.contains(&key.hash) { 200 } else { 401 };
                    let found = self.ask(replica, key).await;
                    assert_eq!(
                        found,
                        Some(expected),
                        "key {:?} on replica {replica}",
                        key.id
                    );
                }
            }
        });
        join_all(asking).await;
    }

    // ---- trouble ----

    /// Gets replicas into trouble by a strike.
    pub(crate) async fn trouble(
        &self,
        replicas: &[usize],
        trouble: Trouble,
        strike: impl Future<Output = ()>,
    ) -> Vec<WindowId> {
        let windows: Vec<_> = replicas
            .iter()
            .map(|replica| {
                self.history
                    .borrow_mut()
                    .begin(*replica, trouble, self.now())
            })
            .collect();
        strike.await;
        for window in &windows {
            self.history.borrow_mut().struck(*window, self.now());
        }
        windows
    }

    /// The trouble is over.
    pub(crate) fn over(&self, windows: Vec<WindowId>) {
        for window in windows {
            self.history.borrow_mut().over(window, self.now());
        }
    }

    /// Nobody reaches the database any more.
    pub(crate) async fn lose_database(&self, strike: impl Future<Output = ()>) -> Vec<WindowId> {
        self.trouble(&self.all(), Trouble::Deaf, strike).await
    }

    /// It is back: waits until everybody has found it.
    pub(crate) async fn find_database(&self, windows: Vec<WindowId>) {
        for replica in &self.replicas {
            replica.becomes("ready").await;
            replica.reaches_database().await;
        }
        self.over(windows);
        self.redis_is_right_under_load().await;
    }

    /// Kills a replica, and waits for its end.
    pub(crate) async fn kill(&self, replica: usize) -> Vec<WindowId> {
        let killing = self.replicas[replica].end("KILL");
        self.trouble(&[replica], Trouble::Silent, killing).await
    }

    /// Starts it again.
    pub(crate) async fn revive(&self, replica: usize, windows: Vec<WindowId>) {
        self.replicas[replica].start().await;
        self.over(windows);
    }

    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.replicas.len()).collect()
    }

    // ---- waiting ----

    /// Waits for so many more changes that succeed.
    pub(crate) async fn changes_pass(&self, count: usize) {
        let done = || {
            let tally = self.history.borrow().tally();
            tally.issued + tally.ended
        };
        let enough = done() + count;
        soon("keys to be changed", async {
            while done() < enough {
                sleep(LOOK_EVERY).await;
            }
        })
        .await;
    }

    /// Lets an outage last: there is no event to wait for where nothing is to happen.
    pub(crate) async fn lease_passes(&self) {
        sleep(LONGER_THAN_THE_LEASE).await;
    }

    /// Waits until Redis holds what the database holds, for no longer than that may take.
    pub(crate) async fn redis_is_right(&self) {
        let right = async {
            while self.servers.in_redis().await != self.servers.in_database().await {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(RECOVERY, right).await.is_err() {
            panic!(
                "Redis is not right after {RECOVERY:?}: {:?} and not {:?}",
                self.servers.in_redis().await,
                self.servers.in_database().await
            );
        }
    }

    /// The same while keys are changed: they stand still for a moment.
    pub(crate) async fn redis_is_right_under_load(&self) {
        let _quiet = self.changing.write().await;
        self.redis_is_right().await;
    }

    /// Waits until Redis does not hold a key, for no longer than that may take.
    pub(crate) async fn redis_forgets(&self, key: &Known) {
        let gone = async {
            while self.servers.redis_holds(&key.hash).await {
                sleep(LOOK_EVERY).await;
            }
        };
        assert!(
            timeout(RECOVERY, gone).await.is_ok(),
            "Redis still holds a key that ended {RECOVERY:?} ago"
        );
    }

    /// Waits until every replica has read of every change that was made, which nothing shows. There
    /// must be quiet.
    pub(crate) async fn all_is_heard(&self) {
        sleep(LEASE).await;
    }

    /// Waits until every replica that runs answers so.
    pub(crate) async fn everywhere(&self, key: &Known, status: u16) {
        let answers = self.all().into_iter().map(|replica| async move {
            while self.replicas[replica].address().is_some()
                && self.ask(replica, key).await != Some(status)
            {
                sleep(LOOK_EVERY).await;
            }
        });
        soon(
            &format!("a key to get {status} everywhere"),
            join_all(answers),
        )
        .await;
    }
}
