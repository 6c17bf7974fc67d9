//! `RawClient`: an HTTP/1.1 client that sends bytes as given and shows what comes back piece by
//! piece, so that tests can tell a clean end from a broken transfer. `Request` writes the bytes of
//! ordinary requests.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use super::evidence;
use super::http::{BodyReader, Framing, Head, Inbox, Piece, sha256};
use super::script::{LAST_CHUNK, framed};
use super::soon;
use super::tls::Authority;
use super::wire::{End, Wire};

/// A connection to the server under test.
#[derive(Debug)]
pub(crate) struct RawClient {
    inbox: Inbox<ReadHalf<Wire>>,
    writer: WriteHalf<Wire>,
    body: BodyReader,
}

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(Wire::Plain(connect(address).await))
    }

    pub(crate) async fn connect_tls(address: SocketAddr, authority: &Authority) -> Self {
        let handshake = authority.connect(connect(address).await);
        Self::over(soon("the TLS handshake", handshake).await.unwrap())
    }

    fn over(wire: Wire) -> Self {
        let (reader, writer) = tokio::io::split(wire);
        Self {
            inbox: Inbox::new(reader),
            writer,
            body: BodyReader::new(Framing::Length(0)),
        }
    }

    /// Sends bytes as they are; an error means that the server stopped listening.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        evidence::sent(bytes.as_ref());
        soon("the server to take what is sent", async {
            self.writer.write_all(bytes.as_ref()).await?;
            self.writer.flush().await
        })
        .await
    }

    /// Reads the next head, interim ones included.
    pub(crate) async fn read_head(&mut self) -> Result<Head, End> {
        let head = soon("a response's head", self.inbox.read_head()).await?;
        self.body = BodyReader::new(head.response_framing());
        Ok(head)
    }

    /// Reads the next piece of the body.
    pub(crate) async fn next_piece(&mut self) -> Piece {
        let next = self.body.next(&mut self.inbox);
        soon("the next piece of a body", next).await
    }

    /// Reads the next piece and expects it to be data.
    pub(crate) async fn next_data(&mut self) -> Vec<u8> {
        match self.next_piece().await {
            Piece::Data(data) => data.to_vec(),
            other => panic!("not data but {other:?}"),
        }
    }

    /// Reads what is left of the body.
    pub(crate) async fn read_rest(&mut self, head: Head) -> Response {
        let mut response = Response {
            head,
            pieces: Vec::new(),
            breach: None,
        };
        loop {
            match self.next_piece().await {
                Piece::Data(data) => response.pieces.push(data.to_vec()),
                Piece::Complete => return response,
                Piece::Broken(breach) => {
                    response.breach = Some(breach);
                    return response;
                }
            }
        }
    }

    /// Reads a whole response.
    pub(crate) async fn read_response(&mut self) -> Response {
        let head = self.read_head().await;
        let head = head.unwrap_or_else(|end| panic!("no response, the connection ended: {end:?}"));
        self.read_rest(head).await
    }

    /// Sends a request and reads its whole response.
    pub(crate) async fn exchange(&mut self, request: &Request) -> Response {
        self.send(request.to_bytes()).await.unwrap();
        self.read_response().await
    }

    /// Waits until the server ends the connection, whatever it sends before.
    pub(crate) async fn server_left(&mut self) -> End {
        soon("the server to end the connection", self.inbox.watch()).await
    }

    /// Leaves in order; the system ends the connection by itself.
    pub(crate) fn leave(self) {
        drop(self);
    }

    /// Leaves by RST.
    pub(crate) fn reset(self) {
        self.inbox.into_reader().unsplit(self.writer).reset();
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) async fn finish_sending(&mut self) {
        self.writer.shutdown().await.unwrap();
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = soon("a connection", TcpStream::connect(address)).await;
    let stream = stream.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A response and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    /// The body as it came: with chunked framing one piece for each chunk.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// What broke the transfer, if something did.
    pub(crate) breach: Option<String>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body())
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// SHA-256 of the body, in hexadecimal.
    pub(crate) fn sha256(&self) -> String {
        sha256(&self.body())
    }

    /// Whether the body came to a clean end.
    pub(crate) fn is_complete(&self) -> bool {
        self.breach.is_none()
    }
}

/// An ordinary request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    first_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            first_line: format!("{method} {target} HTTP/1.1"),
            headers: vec![("Host".to_owned(), "gateway.test".to_owned())],
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// The method, and the path without its query.
    pub(crate) fn method_and_path(&self) -> (&str, &str) {
        let mut words = self.first_line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        (method, target.split('?').next().unwrap())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    /// A body of declared length.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// A body in chunks.
    pub(crate) fn chunked(mut self, chunks: &[&[u8]]) -> Self {
        self.body = chunks.iter().flat_map(framed).collect();
        self.body.extend_from_slice(LAST_CHUNK.as_bytes());
        self.header("Transfer-Encoding", "chunked")
    }

    /// A JSON body, written as it stands.
    pub(crate) fn json(self, body: impl AsRef<[u8]>) -> Self {
        self.header("Content-Type", "application/json").body(body)
    }

    /// A JSON body made from a value.
    pub(crate) fn value(self, body: &Value) -> Self {
        self.json(body.to_string())
    }

    /// The head alone, for tests that send the body in their own way.
    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.first_line);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.head_bytes(), self.body.clone()].concat()
    }

    /// Sends it over a connection of its own and reads the whole response.
    pub(crate) async fn send_to(&self, address: SocketAddr) -> Response {
        RawClient::connect(address).await.exchange(self).await
    }
}
