//! What a drill plays on: three replicas, keys and models that everybody may use, and traffic
//! with them.

use std::net::SocketAddr;

use sqlx::Connection as _;

use crate::{
    Result,
    http::{Connection, chat},
    load::Load,
    options::Options,
    site::{Key, Replica, Site},
};

const REPLICAS: usize = 3;
/// Keys and models of the traffic that is allowed all the time.
const KEYS: usize = 60;
const MODELS: usize = 20;
/// Models whose routes are changed.
const CHANGING_MODELS: usize = 10;

pub(crate) struct Stage {
    pub(crate) site: Site,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) keys: Vec<Key>,
    pub(crate) models: Vec<String>,
    /// Names and ids.
    pub(crate) changing: Vec<(String, String)>,
}

impl Stage {
    pub(crate) async fn set(options: Options) -> Result<Self> {
        let site = Site::open(options).await?;
        // Empty, but for the extension that counts statements.
        let mut database = site.database().await?;
        sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            .execute(&mut database)
            .await?;
        database.close().await?;
        let mut replicas = Vec::new();
        for index in 0..REPLICAS {
            let name = format!("gateway-{index}");
            replicas.push(site.replica_behind_cable(&name).await?);
        }
        let mut stage = Self {
            site,
            replicas,
            keys: Vec::new(),
            models: Vec::new(),
            changing: Vec::new(),
        };
        stage.provision().await?;
        stage.site.redis_is_whole().await?;
        stage.warm_up().await?;
        Ok(stage)
    }

    async fn provision(&mut self) -> Result<()> {
        let first = &self.replicas[0];
        let provider = first.register(&self.site).await?;
        for index in 0..MODELS {
            let name = format!("model-{index}");
            first.map(&name, &provider).await?;
            self.models.push(name);
        }
        for index in 0..CHANGING_MODELS {
            let name = format!("changing-{index}");
            let id = first.map(&name, &provider).await?;
            self.changing.push((name, id));
        }
        for _ in 0..KEYS {
            self.keys.push(first.issue().await?);
        }
        Ok(())
    }

    /// Every replica is asked once for everything, so that it holds it.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        for replica in &self.replicas {
            let mut connection = Connection::to(replica.address());
            for index in 0..KEYS.max(MODELS) {
                let status = connection.send(&self.request(index)).await?.status;
                if status != 200 {
                    return Err(format!("a first request got {status}").into());
                }
            }
        }
        Ok(())
    }

    fn request(&self, index: usize) -> Vec<u8> {
        let key = &self.keys[index % KEYS].key;
        chat(key, &self.models[index % MODELS])
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(Replica::address).collect()
    }

    /// Starts the traffic that is always allowed.
    pub(crate) fn traffic(&self) -> Load {
        let requests: Vec<_> = (0..KEYS * MODELS)
            .map(|index| self.request(index))
            .collect();
        let mut requests = requests.into_iter().cycle();
        Load::start(&self.addresses(), self.site.options.rate, move || {
            requests.next()
        })
    }
}
