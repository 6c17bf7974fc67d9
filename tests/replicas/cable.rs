//! `Cable`: a TCP relay between a gateway and one of its servers that a test can cut, freeze and
//! slow down.

use std::{io, net::SocketAddr, thread, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime,
    sync::{oneshot, watch},
    task::JoinSet,
    time::sleep,
};

/// What the cable does with bytes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Carries everything, each piece after a delay.
    Whole(Duration),
    /// Carries nothing, and keeps connections open: the other side seems to hang.
    Frozen,
    /// Resets every connection, and closes new ones at once.
    Cut,
}

/// A relay to one server. It ends with this value, and has a thread of its own so that its
/// connections end although the test's thread may be waiting for that: PostgreSQL drops no database
/// while somebody is half-way through logging in.
#[derive(Debug)]
pub(crate) struct Cable {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    _end: oneshot::Sender<()>,
}

impl Cable {
    /// Lays a cable to the server that `url` names.
    pub(crate) fn to(url: &str) -> Self {
        let url = url::Url::parse(url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (condition, watched) = watch::channel(Condition::Whole(Duration::ZERO));
        let (end, ended) = oneshot::channel();
        thread::spawn(move || relay(listener, server, watched, ended));
        Self {
            address,
            condition,
            _end: end,
        }
    }

    /// `url` with the cable's end in place of the server.
    pub(crate) fn route(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_ip_host(self.address.ip()).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.to_string()
    }

    pub(crate) fn cut(&self) {
        self.condition.send_replace(Condition::Cut);
    }

    pub(crate) fn freeze(&self) {
        self.condition.send_replace(Condition::Frozen);
    }

    /// Delays each piece, each way.
    pub(crate) fn slow_down(&self, delay: Duration) {
        self.condition.send_replace(Condition::Whole(delay));
    }

    pub(crate) fn mend(&self) {
        self.condition
            .send_replace(Condition::Whole(Duration::ZERO));
    }
}

/// Relays until the other end of `ended` is gone; then every connection ends too.
fn relay(
    listener: std::net::TcpListener,
    server: (String, u16),
    condition: watch::Receiver<Condition>,
    ended: oneshot::Receiver<()>,
) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        tokio::select! {
            accepted = accept(listener, server, condition) => accepted.unwrap(),
            _ = ended => {}
        }
    });
}

async fn accept(
    listener: std::net::TcpListener,
    server: (String, u16),
    condition: watch::Receiver<Condition>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await?;
        if *condition.borrow() == Condition::Cut {
            continue;
        }
        while connections.try_join_next().is_some() {}
        connections.spawn(carry(client, server.clone(), condition.clone()));
    }
}

/// One connection, until an end or a cut.
async fn carry(client: TcpStream, server: (String, u16), condition: watch::Receiver<Condition>) {
    let mut cut = condition.clone();
    let both_ways = async {
        passable(&mut condition.clone()).await;
        let server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        tokio::try_join!(
            pass(client_in, server_out, condition.clone()),
            pass(server_in, client_out, condition),
        )?;
        Ok::<_, io::Error>(())
    };
    tokio::select! {
        _ = both_ways => {}
        _ = cut.wait_for(|condition| *condition == Condition::Cut) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut condition: watch::Receiver<Condition>,
) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        let delay = passable(&mut condition).await;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// Waits until the cable carries; answers its delay.
async fn passable(condition: &mut watch::Receiver<Condition>) -> Duration {
    let carries = condition
        .wait_for(|now| matches!(now, Condition::Whole(_)))
        .await;
    match carries.map(|condition| *condition) {
        Ok(Condition::Whole(delay)) => delay,
        // The cable is gone, and this task is about to be.
        _ => std::future::pending().await,
    }
}
