//! Addresses where nothing answers, each in its own way.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// An address that refuses connections. The port stays taken as long as this lives, so that no
/// other test's server can appear there.
#[derive(Debug)]
pub(crate) struct RefusingAddress {
    socket: TcpSocket,
}

impl RefusingAddress {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// The base URL to register in the gateway.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address())
    }
}

/// An address that never completes a connection: its queue is full, so that the system drops
/// whatever knocks.
#[derive(Debug)]
pub(crate) struct DeafAddress {
    listener: TcpListener,
    _filler: TcpStream,
}

impl DeafAddress {
    pub(crate) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // A queue of length 0 still holds one connection.
        let listener = socket.listen(0).unwrap();
        let filler = TcpStream::connect(listener.local_addr().unwrap()).await;
        Self {
            listener,
            _filler: filler.unwrap(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The base URL to register in the gateway.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address())
    }
}
