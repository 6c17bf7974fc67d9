//! What a scripted provider does with one request: steps, written down beforehand or fed to it
//! while it goes along.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The head of a streamed answer.
pub(crate) const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    content-type: text/event-stream\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// The last chunk of a streamed answer.
pub(crate) const LAST_CHUNK: &str = "0\r\n\r\n";

/// One thing that the provider does.
#[derive(Debug)]
pub(crate) enum Step {
    /// Reads the request's body to its end.
    ReadBody,
    /// Sends these bytes.
    Send(Bytes),
    /// Sends these bytes so many times, as fast as they are taken.
    Flood(Bytes, usize),
    /// Does what comes through the channel until its other end is dropped.
    Follow(UnboundedReceiver<Step>),
    /// Does nothing until the client leaves.
    Hang,
    /// Ends the connection.
    End(Ending),
}

/// How the provider ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order: with TLS's farewell, then FIN; what still comes is read and dropped.
    Close,
    /// By FIN alone, without TLS's farewell; what still comes is read and dropped.
    Cut,
    /// By RST.
    Reset,
    /// By dropping it: a FIN, or a RST if something sent by the client was left unread.
    Abandon,
}

/// The steps that answer one request. After the last one the connection stays open for the next
/// request, unless a step ended it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) steps: VecDeque<Step>,
}

impl Answer {
    /// Reads the request and answers with a status, headers and a body of known length.
    pub(crate) fn with_headers(
        status: u16,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Self {
        let body = body.as_ref();
        let mut lines = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in headers {
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
        lines.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        Self::silent().send([lines.as_bytes(), body].concat())
    }

    /// Reads the request and answers with JSON.
    pub(crate) fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::with_headers(status, &[("content-type", "application/json")], body)
    }

    /// Reads the request and begins a streamed answer: `chunk`s follow, then `end_chunks`.
    pub(crate) fn stream() -> Self {
        Self::silent().send(STREAM_HEAD)
    }

    /// Reads the request and sends bytes as they are, whatever they mean.
    pub(crate) fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::silent().send(bytes)
    }

    /// Reads the request and sends nothing yet.
    pub(crate) fn silent() -> Self {
        Self::before_body().read_body()
    }

    /// Begins as soon as the head is there, while the body may still be on its way: `read_body`
    /// says when it is read, and what isn't read by the last step is read then.
    pub(crate) fn before_body() -> Self {
        Self::default()
    }

    /// Reads the request and then does what the test feeds it.
    pub(crate) fn live() -> (Self, Feed) {
        Self::silent().follow()
    }

    /// Reads the request's body.
    pub(crate) fn read_body(self) -> Self {
        self.step(Step::ReadBody)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Send(bytes.into()))
    }

    /// Sends one chunk.
    pub(crate) fn chunk(self, data: impl AsRef<[u8]>) -> Self {
        self.send(framed(data))
    }

    /// Sends one chunk many times over, as fast as it is taken.
    pub(crate) fn flood(self, data: impl AsRef<[u8]>, times: usize) -> Self {
        self.step(Step::Flood(framed(data), times))
    }

    /// Sends the last chunk.
    pub(crate) fn end_chunks(self) -> Self {
        self.send(LAST_CHUNK)
    }

    /// Goes on as the test feeds it, until the feed is dropped.
    pub(crate) fn follow(self) -> (Self, Feed) {
        let (sender, receiver) = unbounded_channel();
        (self.step(Step::Follow(receiver)), Feed { sender })
    }

    /// Does nothing until the client leaves.
    pub(crate) fn hang(self) -> Self {
        self.step(Step::Hang)
    }

    /// Ends the connection.
    pub(crate) fn end(self, ending: Ending) -> Self {
        self.step(Step::End(ending))
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }
}

/// The test's end of a live answer: what is sent here is done at once, in order.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: UnboundedSender<Step>,
}

impl Feed {
    /// Sends bytes as they are.
    pub(crate) fn send(&self, bytes: impl Into<Bytes>) {
        self.step(Step::Send(bytes.into()));
    }

    /// Sends the head of a streamed answer.
    pub(crate) fn stream_head(&self) {
        self.send(STREAM_HEAD);
    }

    /// Sends one chunk.
    pub(crate) fn chunk(&self, data: impl AsRef<[u8]>) {
        self.send(framed(data));
    }

    /// Sends the last chunk.
    pub(crate) fn end_chunks(&self) {
        self.send(LAST_CHUNK);
    }

    /// Ends the connection.
    pub(crate) fn end(&self, ending: Ending) {
        self.step(Step::End(ending));
    }

    fn step(&self, step: Step) {
        // The provider doesn't listen any more once its client has left.
        let _ = self.sender.send(step);
    }
}

/// Data framed as one chunk.
pub(crate) fn framed(data: impl AsRef<[u8]>) -> Bytes {
    let data = data.as_ref();
    let size = format!("{:x}\r\n", data.len());
    Bytes::from([size.as_bytes(), data, b"\r\n"].concat())
}
