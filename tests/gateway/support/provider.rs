//! `ScriptedProvider`: a raw HTTP/1.1 server, plain or over TLS, that does with each request what
//! the test has written down, and records what it received, byte for byte.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::http::{BodyReader, Head, Inbox, Piece, sha256};
use super::script::{Answer, Ending, Step};
use super::soon;
use super::tls::Authority;
use super::wire::{End, Wire};

/// One request as the provider received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Which of the provider's connections it came on, counted from 0.
    pub(crate) connection: usize,
    /// Its head, raw and parsed.
    pub(crate) head: Head,
    /// What has arrived of its body, without framing.
    pub(crate) body: Vec<u8>,
    /// Whether the body has come to its end.
    pub(crate) is_complete: bool,
}

impl Received {
    pub(crate) fn method(&self) -> &str {
        self.head.word(0)
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.head.word(1)
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// SHA-256 of the body, in hexadecimal.
    pub(crate) fn sha256(&self) -> String {
        sha256(&self.body)
    }
}

/// Chooses the answer to a request from its head.
type Chooser = Box<dyn Fn(&Received) -> Answer + Send + Sync>;

/// Everything that tests look at or wait for.
#[derive(Default)]
struct State {
    scripted: VecDeque<Answer>,
    chooser: Option<Chooser>,
    received: Vec<Received>,
    connections: Vec<Option<End>>,
    bytes_sent: u64,
}

impl State {
    fn answer_to(&mut self, request: &Received) -> Answer {
        self.scripted
            .pop_front()
            .or_else(|| self.chooser.as_ref().map(|choose| choose(request)))
            .unwrap_or_else(|| Answer::json(500, r#"{"error":{"message":"nothing was scripted"}}"#))
    }
}

/// A provider that does as it is told. It ends with the test that started it.
pub(crate) struct ScriptedProvider {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<watch::Sender<State>>,
    listening: JoinHandle<()>,
}

impl ScriptedProvider {
    /// Starts one without TLS.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts one with TLS and a certificate of this authority.
    pub(crate) async fn start_tls(authority: &'static Authority) -> Self {
        Self::start_with(Some(authority)).await
    }

    async fn start_with(authority: Option<&'static Authority>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(watch::Sender::new(State::default()));
        Self {
            address: listener.local_addr().unwrap(),
            scheme: if authority.is_some() { "https" } else { "http" },
            state: state.clone(),
            listening: tokio::spawn(listen(listener, authority, state)),
        }
    }

    /// The base URL to register in the gateway.
    pub(crate) fn base_url(&self) -> String {
        format!("{}://{}/v1", self.scheme, self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Scripts the answer to the next request that has none yet.
    pub(crate) fn next(&self, answer: Answer) {
        self.state
            .send_modify(|state| state.scripted.push_back(answer));
    }

    /// Says how requests are answered for which `next` has scripted nothing.
    pub(crate) fn otherwise(&self, choose: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.state
            .send_modify(|state| state.chooser = Some(Box::new(choose)));
    }

    /// How many requests have begun to arrive.
    pub(crate) fn request_count(&self) -> usize {
        self.state.borrow().received.len()
    }

    /// How many connections were accepted.
    pub(crate) fn connection_count(&self) -> usize {
        self.state.borrow().connections.len()
    }

    /// How many bytes the connections have taken.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.state.borrow().bytes_sent
    }

    /// Waits for the head of a request, counted from 0.
    pub(crate) async fn head(&self, index: usize) -> Received {
        self.wait_for(&format!("the head of request {index}"), |state| {
            state.received.get(index).cloned()
        })
        .await
    }

    /// Waits for a whole request, counted from 0.
    pub(crate) async fn request(&self, index: usize) -> Received {
        self.wait_for(&format!("request {index}"), |state| {
            let request = state.received.get(index)?;
            request.is_complete.then(|| request.clone())
        })
        .await
    }

    /// Waits until so many bytes of a request's body have come.
    pub(crate) async fn body_bytes(&self, index: usize, count: usize) {
        self.wait_for(&format!("{count} bytes of request {index}"), |state| {
            let request = state.received.get(index)?;
            (request.body.len() >= count).then_some(())
        })
        .await;
    }

    /// Waits until the connections have taken so many bytes.
    pub(crate) async fn sent_at_least(&self, count: u64) {
        self.wait_for(&format!("{count} bytes to be sent"), |state| {
            (state.bytes_sent >= count).then_some(())
        })
        .await;
    }

    /// Waits until the client has ended a connection, counted from 0, and says how.
    pub(crate) async fn client_left(&self, connection: usize) -> End {
        self.wait_for(&format!("the client to leave {connection}"), |state| {
            state.connections.get(connection).copied().flatten()
        })
        .await
    }

    /// Stops listening and drops every connection.
    pub(crate) async fn stop(mut self) {
        self.listening.abort();
        // Its only outcome is the cancellation just asked for.
        let _ = (&mut self.listening).await;
    }

    async fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.state.subscribe();
        soon(what, async {
            loop {
                if let Some(found) = look(&changes.borrow_and_update()) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        })
        .await
    }
}

impl Drop for ScriptedProvider {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Accepts connections; dropping this future drops them all.
async fn listen(
    listener: TcpListener,
    authority: Option<&'static Authority>,
    state: Arc<watch::Sender<State>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let number = state.borrow().connections.len();
        state.send_modify(|state| state.connections.push(None));
        let state = state.clone();
        connections.spawn(async move {
            let end = match shake_hands(stream, authority).await {
                Ok(wire) => Connection::new(wire, number, state.clone()).serve().await,
                Err(error) => End::from_error(&error),
            };
            state.send_modify(|state| state.connections[number] = Some(end));
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    authority: Option<&'static Authority>,
) -> std::io::Result<Wire> {
    match authority {
        Some(authority) => authority.accept(stream).await,
        None => Ok(Wire::Plain(stream)),
    }
}

/// Why no further step is done on a connection.
enum Stop {
    /// The client ended it.
    Left(End),
    /// The script ends it.
    Scripted(Ending),
}

struct Connection {
    inbox: Inbox<ReadHalf<Wire>>,
    writer: WriteHalf<Wire>,
    number: usize,
    state: Arc<watch::Sender<State>>,
}

impl Connection {
    fn new(wire: Wire, number: usize, state: Arc<watch::Sender<State>>) -> Self {
        let (reader, writer) = tokio::io::split(wire);
        Self {
            inbox: Inbox::new(reader),
            writer,
            number,
            state,
        }
    }

    /// Serves request after request, and says how the client ended the connection.
    async fn serve(mut self) -> End {
        let stop = loop {
            if let Err(stop) = self.serve_one().await {
                break stop;
            }
        };
        let ending = match stop {
            Stop::Left(end) => return end,
            Stop::Scripted(ending) => ending,
        };
        let wire = self.inbox.into_reader().unsplit(self.writer);
        match ending {
            Ending::Close => wire.close().await,
            Ending::Cut => wire.cut().await,
            Ending::Reset => {
                wire.reset();
                End::Reset
            }
            Ending::Abandon => End::Closed,
        }
    }

    async fn serve_one(&mut self) -> Result<(), Stop> {
        let head = self.inbox.read_head().await.map_err(Stop::Left)?;
        let mut exchange = Exchange {
            body: BodyReader::new(head.request_framing()),
            body_is_read: false,
            request: 0,
        };
        let mut answer = Answer::default();
        self.state.send_modify(|state| {
            let request = Received {
                connection: self.number,
                head,
                body: Vec::new(),
                is_complete: false,
            };
            answer = state.answer_to(&request);
            exchange.request = state.received.len();
            state.received.push(request);
        });
        for step in answer.steps {
            self.run(step, &mut exchange).await?;
        }
        self.read_body(&mut exchange).await
    }

    async fn run(&mut self, step: Step, exchange: &mut Exchange) -> Result<(), Stop> {
        match step {
            Step::Follow(mut steps) => loop {
                match self.watching(exchange, steps.recv()).await? {
                    Some(step) => Box::pin(self.run(step, exchange)).await?,
                    None => return Ok(()),
                }
            },
            Step::ReadBody => self.read_body(exchange).await,
            Step::Send(bytes) => self.send(exchange, &bytes).await,
            Step::Flood(bytes, times) => {
                for _ in 0..times {
                    self.send(exchange, &bytes).await?;
                }
                Ok(())
            }
            Step::Hang => self.watching(exchange, std::future::pending()).await,
            Step::End(ending) => Err(Stop::Scripted(ending)),
        }
    }

    async fn read_body(&mut self, exchange: &mut Exchange) -> Result<(), Stop> {
        while !exchange.body_is_read {
            match exchange.body.next(&mut self.inbox).await {
                Piece::Data(data) => self.record(exchange, |request| request.body.extend(data)),
                Piece::Complete => {
                    exchange.body_is_read = true;
                    self.record(exchange, |request| request.is_complete = true);
                }
                Piece::Broken(_) => return Err(Stop::Left(self.inbox.watch().await)),
            }
        }
        Ok(())
    }

    async fn send(&mut self, exchange: &Exchange, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let count = write(&mut self.inbox, &mut self.writer, exchange, bytes).await?;
            bytes = &bytes[count..];
            self.state
                .send_modify(|state| state.bytes_sent += count as u64);
        }
        Ok(())
    }

    /// Does something that takes time, unless the client leaves meanwhile.
    async fn watching<T>(
        &mut self,
        exchange: &Exchange,
        work: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        or_left(&mut self.inbox, exchange, work).await
    }

    fn record(&self, exchange: &Exchange, change: impl FnOnce(&mut Received)) {
        self.state
            .send_modify(|state| change(&mut state.received[exchange.request]));
    }
}

/// Where the answering of one request stands.
struct Exchange {
    body: BodyReader,
    body_is_read: bool,
    request: usize,
}

async fn write(
    inbox: &mut Inbox<ReadHalf<Wire>>,
    writer: &mut WriteHalf<Wire>,
    exchange: &Exchange,
    bytes: &[u8],
) -> Result<usize, Stop> {
    let work = async {
        let count = writer.write(bytes).await?;
        // TLS keeps what it has encrypted until it is told to hand it over.
        writer.flush().await?;
        Ok(count)
    };
    or_left(inbox, exchange, work)
        .await?
        .map_err(|error: std::io::Error| Stop::Left(End::from_error(&error)))
}

/// Watches for the client's leaving while something else goes on. As long as the request's body
/// isn't read, its bytes stay where they are, and only writing can tell that the client left.
async fn or_left<T>(
    inbox: &mut Inbox<ReadHalf<Wire>>,
    exchange: &Exchange,
    work: impl Future<Output = T>,
) -> Result<T, Stop> {
    if !exchange.body_is_read {
        return Ok(work.await);
    }
    tokio::select! {
        biased;
        done = work => Ok(done),
        end = inbox.watch() => Err(Stop::Left(end)),
    }
}
