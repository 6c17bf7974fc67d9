//! `Replica`: one gateway process that can be killed, frozen, held at a marked point and started
//! again, and its cables to the servers.

use std::{
    cell::{Cell, RefCell},
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    cable::Cable,
    http::{Answer, Connection, request},
    servers::{DATABASE, Servers},
    support::{
        gateway::{ADMIN_KEY, TestGateway},
        soon,
        storage::TestStorage,
    },
};

/// Between two looks at something that is waited for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) struct Replica {
    gateway: RefCell<Option<TestGateway>>,
    address: Cell<Option<SocketAddr>>,
    storage: Arc<TestStorage>,
    settings: Vec<(String, String)>,
    /// Where the marked points look for what they shall do.
    points: PathBuf,
    pub(crate) to_redis: Cable,
    pub(crate) to_database: Cable,
    /// Carries the connection on which it hears of commits.
    pub(crate) to_listener: Cable,
}

impl Replica {
    /// Lays the cables; starts nothing yet.
    pub(crate) fn new(servers: &Servers, number: usize, settings: &[(&str, &str)]) -> Self {
        let points = servers.folder().join(format!("points-{number}"));
        fs::create_dir(&points).unwrap();
        let (database, redis) = (&servers.database_url, &servers.redis_url);
        let to_redis = Cable::to(redis);
        let (to_database, to_listener) = (Cable::to(database), Cable::to(database));
        let storage = TestStorage::Postgres {
            server: to_database.route(database),
            name: DATABASE.to_owned(),
            redis: to_redis.route(redis),
            is_given: true,
        };
        let listen_url = to_listener.route(database);
        let points_folder = points.display().to_string();
        let own = [
            ("DATABASE_LISTEN_URL", listen_url.as_str()),
            ("FAIL_POINTS", &points_folder),
        ];
        let all = own.iter().chain(settings);
        let settings = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            gateway: RefCell::new(None),
            address: Cell::new(None),
            storage: Arc::new(storage),
            settings: settings.collect(),
            points,
            to_redis,
            to_database,
            to_listener,
        }
    }

    /// Starts the process, and waits until it listens.
    pub(crate) async fn start(&self) {
        let settings: Vec<_> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let gateway = TestGateway::start_on(Arc::clone(&self.storage), &settings).await;
        self.address.set(Some(gateway.address()));
        self.gateway.replace(Some(gateway));
    }

    /// Where it listens, while it runs.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address.get()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.gateway.borrow().as_ref().unwrap().process_id()
    }

    fn signal(&self, signal: &str) {
        let id = self.process_id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &id])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Stops every thread of the process, and waits until they stand still.
    pub(crate) async fn freeze(&self) {
        self.signal("STOP");
        let file = format!("/proc/{}/stat", self.process_id());
        soon("the gateway to be frozen", async {
            while !fs::read_to_string(&file).unwrap().contains(") T ") {
                sleep(LOOK_EVERY).await;
            }
        })
        .await;
    }

    pub(crate) fn wake(&self) {
        self.signal("CONT");
    }

    /// Sends a signal that ends it, and waits for its end.
    pub(crate) async fn end(&self, signal: &str) {
        self.signal(signal);
        let mut gateway = self.gateway.take().unwrap();
        gateway.ended().await;
        self.address.set(None);
    }

    /// Cuts it off from the database altogether.
    pub(crate) fn lose_database(&self, way: fn(&Cable)) {
        way(&self.to_database);
        way(&self.to_listener);
    }

    pub(crate) fn find_database(&self) {
        self.to_database.mend();
        self.to_listener.mend();
    }

    /// Has the process stand still at a marked point the next time that it comes there.
    pub(crate) fn arm(&self, point: &str) {
        fs::write(self.points.join(point), "").unwrap();
    }

    /// It need not stand still there any more.
    pub(crate) fn disarm(&self, point: &str) {
        let _ = fs::remove_file(self.points.join(point));
    }

    /// Waits until it stands still there.
    pub(crate) async fn reached(&self, point: &str) {
        let file = self.reached_file(point);
        soon(&format!("the gateway to reach `{point}`"), async {
            while !file.exists() {
                sleep(LOOK_EVERY).await;
            }
        })
        .await;
    }

    /// Lets it go on.
    pub(crate) fn release(&self, point: &str) {
        fs::remove_file(self.reached_file(point)).unwrap();
    }

    fn reached_file(&self, point: &str) -> PathBuf {
        self.points.join(format!("{point}.reached"))
    }

    /// One call as the operator, who gets no answer from a process that is gone.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let request = request(method, path, ADMIN_KEY, body);
        Connection::to(self.address()?).send(&request).await.ok()
    }

    /// What `/readyz` says: its status, and the word.
    async fn readiness(&self) -> Option<(u16, String)> {
        let answer = self.admin("GET", "/readyz", "").await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let word = body["status"].as_str().unwrap_or_default().to_owned();
        Some((answer.status, word))
    }

    /// Waits until it says of itself that it is `ready`, or `degraded`, with 200; or answers 503.
    pub(crate) async fn becomes(&self, word: &str) {
        soon(&format!("a gateway to be {word}"), async {
            loop {
                match self.readiness().await {
                    Some((200, found)) if found == word => return,
                    Some((503, _)) if word == "unavailable" => return,
                    _ => sleep(LOOK_EVERY).await,
                }
            }
        })
        .await;
    }

    /// Waits until it reaches the database again.
    pub(crate) async fn reaches_database(&self) {
        soon("admin calls to be answered", async {
            loop {
                match self.admin("GET", "/admin/keys?limit=1", "").await {
                    Some(Answer { status: 200, .. }) => return,
                    _ => sleep(LOOK_EVERY).await,
                }
            }
        })
        .await;
    }
}
