//! The way to Redis: which server a connection is opened to, and whom it trusts.
//!
//! All that the gateway keeps in a Redis Cluster is in one slot, so one node has it, and a plain
//! connection to that node is all that is needed. A client for clusters would keep connections to
//! every node, and would reconnect and repeat by itself while a request waits for it; here only
//! the cache warmer opens connections, to whichever node has the slot by then.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind,
    RedisError, TlsCertificates, Value, aio::MultiplexedConnection, from_redis_value, pipe,
};

use super::Result;
use crate::{
    settings::{CacheSettings, RedisTls, RedisUrl},
    storage::{StorageError, pem},
};

/// The longest that opening one connection may take: name, TCP, TLS and log-in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The servers that a connection may be opened through.
pub(super) struct Servers {
    /// How to log in, and whom to trust; the address in it is replaced.
    login: ConnectionInfo,
    configured: Vec<Node>,
    /// Any of the keys: they are all in the same slot.
    key: String,
    /// Counts connections.
    opened: Counter,
    /// Those configured, and those that a cluster told of; whoever failed last is asked last.
    known: Mutex<Vec<Node>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    host: String,
    port: u16,
}

/// What a node knows of its cluster.
struct Topology {
    /// Who has the slot.
    owner: Node,
    nodes: Vec<Node>,
}

impl Servers {
    /// Opens nothing yet.
    pub(super) fn new(
        url: &RedisUrl,
        settings: &CacheSettings,
        key: String,
        opened: Counter,
    ) -> std::result::Result<Self, StorageError> {
        let certificates = read_certificates(&settings.redis_tls)?;
        let unusable = |error: RedisError| StorageError::Broken {
            reason: format!("REDIS_URL: {error}"),
        };
        let mut login = None;
        let mut configured = Vec::new();
        for url in url.expose() {
            let client = match &certificates {
                Some(certificates) => Client::build_with_tls(url.as_str(), certificates.clone()),
                None => Client::open(url.as_str()),
            };
            let info = client.map_err(unusable)?.get_connection_info().clone();
            configured.push(Node::of(info.addr()).map_err(unusable)?);
            login.get_or_insert(info);
        }
        Ok(Self {
            login: login.ok_or_else(|| unusable(failure("names no server")))?,
            key,
            opened,
            known: Mutex::new(configured.clone()),
            configured,
        })
    }

    /// Opens a connection to the server that has our keys.
    pub(super) async fn connect(
        &self,
        response_timeout: Duration,
    ) -> Result<MultiplexedConnection> {
        let mut last = failure("no server is known");
        let known = self.known().clone();
        for node in known {
            match self.connect_through(&node, response_timeout).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    self.put_last(&node);
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn connect_through(
        &self,
        node: &Node,
        response_timeout: Duration,
    ) -> Result<MultiplexedConnection> {
        let mut connection = self.open(node, response_timeout).await?;
        let Some(topology) = self.topology(&mut connection, node).await? else {
            return Ok(connection);
        };
        self.learn(topology.nodes);
        if topology.owner == *node {
            return Ok(connection);
        }
        self.open(&topology.owner, response_timeout).await
    }

    async fn open(&self, node: &Node, response_timeout: Duration) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        let login = self.login.clone().set_addr(node.at(self.login.addr()));
        let connection = Client::open(login)?
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        self.opened.inc();
        Ok(connection)
    }

    /// `None`: the server is not one of a cluster.
    async fn topology(
        &self,
        connection: &mut MultiplexedConnection,
        asked: &Node,
    ) -> Result<Option<Topology>> {
        let mut question = pipe();
        question.cmd("CLUSTER").arg("KEYSLOT").arg(&self.key);
        question.cmd("CLUSTER").arg("SLOTS");
        let answer = question
            .query_async::<(u16, Vec<Vec<Value>>)>(connection)
            .await;
        let (slot, ranges) = match answer {
            // Cluster support is disabled, or the command unknown or not allowed.
            Err(error) if error.clone().into_server_errors().is_some() => {
                if self.configured.len() > 1 {
                    return Err(failure(
                        "REDIS_URL names several servers, but they are no Redis Cluster",
                    ));
                }
                return Ok(None);
            }
            answer => answer?,
        };
        let ranges = ranges.into_iter().map(|range| Range::read(range, asked));
        let ranges = ranges.collect::<Result<Vec<_>>>()?;
        let owner = ranges.iter().find(|range| range.holds(slot));
        let owner = owner.and_then(|range| range.nodes.first().cloned());
        Ok(Some(Topology {
            owner: owner.ok_or_else(|| failure("no node of the cluster has the slot"))?,
            nodes: ranges.into_iter().flat_map(|range| range.nodes).collect(),
        }))
    }

    fn known(&self) -> MutexGuard<'_, Vec<Node>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those configured stay, because all others may be gone one day.
    fn learn(&self, nodes: Vec<Node>) {
        let mut known = self.known();
        known.retain(|node| self.configured.contains(node) || nodes.contains(node));
        for node in nodes {
            if !known.contains(&node) {
                known.push(node);
            }
        }
    }

    fn put_last(&self, node: &Node) {
        let mut known = self.known();
        if let Some(index) = known.iter().position(|other| other == node) {
            let node = known.remove(index);
            known.push(node);
        }
    }
}

impl Node {
    fn of(address: &ConnectionAddr) -> Result<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Ok(Self {
                    host: host.clone(),
                    port: *port,
                })
            }
            _ => Err(failure("is not an address on a network")),
        }
    }

    /// This node's address, reached as another is.
    fn at(&self, other: &ConnectionAddr) -> ConnectionAddr {
        let (host, port) = (self.host.clone(), self.port);
        match other {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        }
    }
}

/// One entry of `CLUSTER SLOTS`: the slots from the first to the last, then their nodes, the owner
/// first.
struct Range {
    first: u16,
    last: u16,
    nodes: Vec<Node>,
}

impl Range {
    fn read(range: Vec<Value>, asked: &Node) -> Result<Self> {
        let mut parts = range.into_iter();
        let mut slot = || from_redis_value::<u16>(parts.next().unwrap_or(Value::Nil));
        let (first, last) = (slot()?, slot()?);
        let nodes = parts.map(|node| read_node(node, asked));
        Ok(Self {
            first,
            last,
            nodes: nodes.collect::<Result<_>>()?,
        })
    }

    fn holds(&self, slot: u16) -> bool {
        (self.first..=self.last).contains(&slot)
    }
}

/// A host and a port, and more that is of no interest here. Without a host it is the one that was
/// asked.
fn read_node(node: Value, asked: &Node) -> Result<Node> {
    let mut parts = from_redis_value::<Vec<Value>>(node)?.into_iter();
    let mut part = || parts.next().unwrap_or(Value::Nil);
    let host = from_redis_value::<Option<String>>(part())?.filter(|host| !host.is_empty());
    Ok(Node {
        host: host.unwrap_or_else(|| asked.host.clone()),
        port: from_redis_value(part())?,
    })
}

fn failure(problem: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Client, problem))
}

fn read_certificates(
    settings: &RedisTls,
) -> std::result::Result<Option<TlsCertificates>, StorageError> {
    let RedisTls {
        ca_cert,
        client: identity,
    } = settings;
    if ca_cert.is_none() && identity.is_none() {
        return Ok(None);
    }
    let root_cert = ca_cert
        .as_ref()
        .map(|path| pem::certificates("REDIS_CA_CERT", path));
    let client_tls = match identity {
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: pem::certificates("REDIS_CLIENT_CERT", cert)?,
            client_key: pem::private_key("REDIS_CLIENT_KEY", key)?,
        }),
        None => None,
    };
    Ok(Some(TlsCertificates {
        client_tls,
        root_cert: root_cert.transpose()?,
    }))
}
