//! A Redis Cluster: the gateway's keys are on one of its nodes, and that may be another one by now.

use std::{collections::BTreeMap, fs, path::PathBuf};

use redis::{Client, Cmd, FromRedisValue, cmd};
use tokio::{
    process::Command,
    sync::{Mutex, MutexGuard},
};

use crate::{
    server,
    site::{MODEL, Redis, Replica, Site, hashes},
    support::soon,
    work_together,
};

/// One test at a time: each takes nodes away.
static TURN: Mutex<()> = Mutex::const_new(());

/// The cluster, as an operator sees it.
struct Cluster {
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    async fn take() -> Self {
        let turn = TURN.lock().await;
        let cluster = Self {
            folder: server("REDIS_CLUSTER_FOLDER").into(),
            _turn: turn,
        };
        cluster.is_whole().await;
        cluster
    }

    /// The ports by which the nodes are named.
    fn ports(&self) -> Vec<u16> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    async fn ask<T: FromRedisValue>(&self, port: u16, command: &Cmd) -> redis::RedisResult<T> {
        let client = Client::open(("127.0.0.1", port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    }

    /// Who has a site's keys: the node that doesn't tell to ask another one.
    async fn owner(&self, site: &Site) -> u16 {
        self.owner_among(site, &self.ports()).await
    }

    /// Who has a site's keys, once it is somebody else than `old`, who may not answer.
    async fn owner_after(&self, site: &Site, old: u16) -> u16 {
        let mut others = self.ports();
        others.retain(|port| *port != old);
        self.owner_among(site, &others).await
    }

    async fn owner_among(&self, site: &Site, ports: &[u16]) -> u16 {
        let mut get = cmd("GET");
        get.arg(format!("{{{}}}:mark", site.prefix()));
        soon("a node to have the slot", async {
            loop {
                for port in ports {
                    if self.ask::<Option<String>>(*port, &get).await.is_ok() {
                        return *port;
                    }
                }
            }
        })
        .await
    }

    async fn redis(&self, site: &Site) -> Redis {
        self.redis_of(site, self.owner(site).await).await
    }

    async fn redis_of(&self, site: &Site, port: u16) -> Redis {
        let client = Client::open(("127.0.0.1", port)).unwrap();
        site.redis_through(&client).await
    }

    async fn id(&self, port: u16) -> String {
        self.ask(port, cmd("CLUSTER").arg("MYID")).await.unwrap()
    }

    /// Ids and ports of the masters.
    async fn masters(&self) -> BTreeMap<String, u16> {
        let mut masters = BTreeMap::new();
        for port in self.ports() {
            let role: Vec<redis::Value> = self.ask(port, &cmd("ROLE")).await.unwrap();
            if role.first() == Some(&redis::Value::BulkString(b"master".to_vec())) {
                masters.insert(self.id(port).await, port);
            }
        }
        masters
    }

    /// A replica of a master.
    async fn replica(&self, master: u16) -> u16 {
        let of_master = format!("slave {}", self.id(master).await);
        for port in self.ports() {
            let nodes: String = self.ask(port, cmd("CLUSTER").arg("NODES")).await.unwrap();
            let mut lines = nodes.lines();
            let myself = lines.find(|line| line.contains("myself")).unwrap();
            if myself.contains(&of_master) {
                return port;
            }
        }
        panic!("{master} has no replica");
    }

    fn pid(&self, port: u16) -> String {
        let path = self.folder.join(port.to_string()).join("pid");
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The port by which nodes reach each other.
    fn tls_port(&self, port: u16) -> u16 {
        let path = self.folder.join(port.to_string()).join("redis.conf");
        let configuration = fs::read_to_string(path).unwrap();
        let mut ports = configuration
            .lines()
            .filter_map(|line| line.strip_prefix("tls-port "));
        ports.next().unwrap().parse().unwrap()
    }

    async fn signal(&self, port: u16, signal: &str) {
        let pid = self.pid(port);
        let sent = Command::new("kill").arg(signal).arg(pid).status().await;
        assert!(sent.unwrap().success());
    }

    async fn start(&self, port: u16) {
        let configuration = self.folder.join(port.to_string()).join("redis.conf");
        let started = Command::new("redis-server").arg(configuration).output();
        assert!(started.await.unwrap().status.success());
    }

    async fn is_whole(&self) {
        soon("the cluster to be whole", async {
            while !self.everybody_agrees().await {}
        })
        .await;
    }

    async fn everybody_agrees(&self) -> bool {
        for port in self.ports() {
            let info = self.ask::<String>(port, cmd("CLUSTER").arg("INFO")).await;
            if !info.is_ok_and(|info| info.contains("cluster_state:ok")) {
                return false;
            }
            let nodes = self.ask::<String>(port, cmd("CLUSTER").arg("NODES")).await;
            if nodes.is_ok_and(|nodes| nodes.contains("fail") || nodes.contains("disconnected")) {
                return false;
            }
            // A replica without its master's contents would not be made a master.
            let info = self
                .ask::<String>(port, cmd("INFO").arg("replication"))
                .await;
            if !info.is_ok_and(|info| !info.contains("master_link_status:down")) {
                return false;
            }
        }
        true
    }
}

async fn serving(site: &Site, url: &str) -> (Replica, Replica) {
    let settings = [("REDIS_URL", url)];
    let one = site.replica(&settings).await;
    one.gateway.serve(MODEL, &site.provider).await;
    (one, site.replica(&settings).await)
}

/// A key that a replica without a database can only have from Redis.
async fn is_served_from_redis(one: &Replica, other: &Replica) {
    other.to_database.cut();
    // Its database is away, so whatever it doesn't hold is asked of Redis each time.
    let key = one.issue().await;
    other.answers(&key.key, 200).await;
    one.revoke(&key).await;
    other.answers(&key.key, 401).await;
    other.to_database.mend();
}

#[actix_web::test]
async fn a_redis_cluster_is_used_as_one_redis_is() {
    let cluster = Cluster::take().await;
    let ca = format!("{}/ca.pem", server("TLS_FOLDER"));
    let (plain, tls) = (server("REDIS_CLUSTER_URL"), server("REDIS_CLUSTER_TLS_URL"));
    let one_node = plain.split(',').next().unwrap();
    for settings in [
        vec![("REDIS_URL", plain.as_str())],
        vec![("REDIS_URL", one_node)],
        vec![("REDIS_URL", &tls), ("REDIS_CA_CERT", &ca)],
    ] {
        // More than one, so that not all of them are on the same node.
        for _ in 0..3 {
            let site = Site::new().await;
            let one = site.replica(&settings).await;
            one.gateway.serve(MODEL, &site.provider).await;
            let other = site.replica(&settings).await;
            work_together(&one, &other).await;
            let mut redis = cluster.redis(&site).await;
            redis.whole().await;
            assert_eq!(redis.models().await, [MODEL]);
            is_served_from_redis(&one, &other).await;
            redis.empty().await;
            redis.whole().await;
            assert_eq!(redis.models().await, [MODEL]);
        }
    }
}

#[actix_web::test]
async fn several_servers_that_are_no_cluster_are_not_used() {
    let redis = std::env::var("REDIS_URL").unwrap();
    let twice = format!("{redis},{}", redis.trim_start_matches("redis://"));
    let site = Site::new().await;
    let (one, other) = serving(&site, &twice).await;
    one.gateway.logged("no Redis Cluster").await;
    work_together(&one, &other).await;
}

#[actix_web::test]
async fn when_a_master_dies_the_database_answers_until_its_replica_follows() {
    let cluster = Cluster::take().await;
    let site = Site::new().await;
    let old = cluster.owner(&site).await;
    // The only one that they were told of: the others they must have heard of from it.
    let (one, other) = serving(&site, &format!("redis://127.0.0.1:{old}")).await;
    let (held, revoked) = (one.issue().await, one.issue().await);
    let mut redis = cluster.redis(&site).await;
    redis.holds(&[&held.key, &revoked.key]).await;
    cluster.signal(old, "-KILL").await;
    // Neither has it in memory.
    assert_eq!(other.status(&held.key).await, 200);
    one.revoke(&revoked).await;
    assert_eq!(one.status(&revoked.key).await, 401);
    other.answers(&revoked.key, 401).await;

    let new = cluster.owner_after(&site, old).await;
    cluster.redis_of(&site, new).await.holds(&[&held.key]).await;
    is_served_from_redis(&one, &other).await;
    cluster.start(old).await;
    cluster.is_whole().await;
    is_served_from_redis(&one, &other).await;
}

#[actix_web::test]
async fn when_a_master_hangs_the_database_answers_until_its_replica_follows() {
    let cluster = Cluster::take().await;
    let site = Site::new().await;
    let (one, other) = serving(&site, &server("REDIS_CLUSTER_URL")).await;
    let keys = [one.issue().await, one.issue().await, one.issue().await];
    let old = cluster.owner(&site).await;
    let held: Vec<_> = keys.iter().map(|key| key.key.as_str()).collect();
    cluster.redis(&site).await.holds(&held).await;
    cluster.signal(old, "-STOP").await;
    for key in &held {
        assert_eq!(other.status(key).await, 200);
    }
    one.revoke(&keys[0]).await;
    assert_eq!(one.status(held[0]).await, 401);
    other.answers(held[0], 401).await;
    let new = cluster.owner_after(&site, old).await;
    cluster.redis_of(&site, new).await.holds(&held[1..]).await;
    cluster.signal(old, "-CONT").await;
    cluster.is_whole().await;
    is_served_from_redis(&one, &other).await;
}

/// What a master had acknowledged went with it: its replica had been cut off before.
#[actix_web::test]
async fn a_master_with_an_older_copy_is_not_believed() {
    let cluster = Cluster::take().await;
    let site = Site::new().await;
    let (one, other) = serving(&site, &server("REDIS_CLUSTER_URL")).await;
    let (held, revoked) = (one.issue().await, one.issue().await);
    let mut redis = cluster.redis(&site).await;
    redis.holds(&[&held.key, &revoked.key]).await;
    let old = cluster.owner(&site).await;
    let replica = cluster.replica(old).await;
    cluster.signal(replica, "-STOP").await;
    let mut disconnect = cmd("CLIENT");
    let () = cluster
        .ask(old, disconnect.arg("KILL").arg("TYPE").arg("replica"))
        .await
        .unwrap();
    one.revoke(&revoked).await;
    redis.holds(&[&held.key]).await;
    // Nobody mends it before it was looked at.
    for gateway in [&one, &other] {
        gateway.gateway.signal("STOP").await;
    }
    cluster.signal(old, "-KILL").await;
    cluster.signal(replica, "-CONT").await;
    let new = cluster.owner_after(&site, old).await;
    let mut redis = cluster.redis_of(&site, new).await;
    let stale = hashes([held.key.as_str(), &revoked.key]);
    assert_eq!((new, redis.keys().await), (replica, stale));
    for gateway in [&one, &other] {
        gateway.gateway.signal("CONT").await;
        assert_eq!(gateway.status(&revoked.key).await, 401);
        assert_eq!(gateway.status(&held.key).await, 200);
    }
    redis.holds(&[&held.key]).await;
    cluster.start(old).await;
    is_served_from_redis(&one, &other).await;
}

/// While a slot moves, its old owner sends everybody on for one question (`ASK`), and then for
/// good (`MOVED`).
#[actix_web::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::take().await;
    let site = Site::new().await;
    let (one, other) = serving(&site, &server("REDIS_CLUSTER_URL")).await;
    let key = one.issue().await;
    cluster.redis(&site).await.holds(&[&key.key]).await;
    let source = cluster.owner(&site).await;
    let masters = cluster.masters().await;
    let target = masters.iter().find(|(_, port)| **port != source);
    let (target_id, target) = target.map(|(id, port)| (id.clone(), *port)).unwrap();
    let mark = format!("{{{}}}:mark", site.prefix());
    let slot: u16 = cluster
        .ask(source, cmd("CLUSTER").arg("KEYSLOT").arg(mark))
        .await
        .unwrap();
    let source_id = cluster.id(source).await;
    let set_slot = |state: &str, node: &str| {
        let mut set = cmd("CLUSTER");
        set.arg("SETSLOT").arg(slot).arg(state).arg(node);
        set
    };
    let () = cluster
        .ask(target, &set_slot("IMPORTING", &source_id))
        .await
        .unwrap();
    let () = cluster
        .ask(source, &set_slot("MIGRATING", &target_id))
        .await
        .unwrap();
    let to = cluster.tls_port(target);
    let parts = ["mark", "keys", "callers", "routes"];
    let names = parts.map(|part| format!("{{{}}}:{part}", site.prefix()));
    let mut migrate = cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(to).arg("").arg(0).arg(5000);
    let () = cluster
        .ask(source, migrate.arg("KEYS").arg(&names))
        .await
        .unwrap();
    // The source has none of them, and is still who is asked.
    assert_eq!(other.status(&key.key).await, 200);
    let new = one.issue().await;
    other.answers(&new.key, 200).await;
    one.revoke(&key).await;
    assert_eq!(one.status(&key.key).await, 401);
    other.answers(&key.key, 401).await;

    for port in [target, source] {
        let () = cluster
            .ask(port, &set_slot("NODE", &target_id))
            .await
            .unwrap();
    }
    cluster
        .redis_of(&site, target)
        .await
        .holds(&[&new.key])
        .await;
    is_served_from_redis(&one, &other).await;
}
