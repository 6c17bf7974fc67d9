//! HTTP/1.1 as bytes: heads kept raw, bodies piece by piece, and the difference between a clean
//! end and a broken transfer. Both the scripted provider and the raw client read with it.

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::wire::End;

/// A request's or response's head, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Every byte, from the first line to the empty one.
    pub(crate) raw: Vec<u8>,
    /// The request line or the status line.
    pub(crate) first_line: String,
    /// Names and values in order and in the spelling that came.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        let mut lines = raw
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first_line = text(lines.next().unwrap_or_default());
        let headers = lines
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let colon = line.iter().position(|byte| *byte == b':');
                let (name, value) = line.split_at(colon.unwrap_or(line.len()));
                let value = value.strip_prefix(b":").unwrap_or(value);
                (text(name), value.trim_ascii().to_vec())
            })
            .collect();
        Self {
            raw,
            first_line,
            headers,
        }
    }

    /// The first value of a header, whatever the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| text(value))
            .collect()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_else(|_| {
            panic!("not a status line: {:?}", self.first_line);
        })
    }

    /// A word of the first line.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.first_line.split(' ').nth(index).unwrap_or_default()
    }

    fn declared_framing(&self) -> Option<Framing> {
        let chunked = self
            .all("transfer-encoding")
            .iter()
            .any(|value| value.eq_ignore_ascii_case("chunked"));
        if chunked {
            return Some(Framing::Chunked);
        }
        let length = self.header("content-length")?.parse().ok()?;
        Some(Framing::Length(length))
    }

    /// How the end of a request's body is known.
    pub(crate) fn request_framing(&self) -> Framing {
        self.declared_framing().unwrap_or(Framing::Length(0))
    }

    /// How the end of a response's body is known.
    pub(crate) fn response_framing(&self) -> Framing {
        // Garbage has no status, and no end but that of its connection.
        match self.word(1).parse().unwrap_or(0) {
            100..200 | 204 | 304 => Framing::Length(0),
            _ => self.declared_framing().unwrap_or(Framing::UntilClose),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What comes next of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes: with chunked framing exactly one chunk as it was sent.
    Data(Bytes),
    /// The body is whole.
    Complete,
    /// The transfer broke off; the reason is for the test's message.
    Broken(String),
}

/// What has arrived and wasn't read yet, and where more comes from.
#[derive(Debug)]
pub(crate) struct Inbox<R> {
    reader: R,
    buffer: BytesMut,
    /// A reset is told once by the system, but asked for more than once here.
    end: Option<End>,
}

impl<R: AsyncRead + Unpin> Inbox<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            end: None,
        }
    }

    /// The connection's half, when nothing is to be read any more.
    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    /// Waits for more bytes. Safe to drop while it waits.
    async fn more(&mut self) -> Result<(), End> {
        if let Some(end) = self.end {
            return Err(end);
        }
        let end = match self.reader.read_buf(&mut self.buffer).await {
            Ok(0) => End::Closed,
            Ok(_) => return Ok(()),
            Err(error) => End::from_error(&error),
        };
        self.end = Some(end);
        Err(end)
    }

    /// Collects whatever comes until the peer ends the connection.
    pub(crate) async fn watch(&mut self) -> End {
        loop {
            if let Err(end) = self.more().await {
                return end;
            }
        }
    }

    /// Reads one head.
    pub(crate) async fn read_head(&mut self) -> Result<Head, End> {
        let mut searched = 0;
        loop {
            if let Some(end) = find(&self.buffer[searched..], b"\r\n\r\n") {
                let raw = self.buffer.split_to(searched + end + 4);
                return Ok(Head::parse(raw.to_vec()));
            }
            searched = self.buffer.len().saturating_sub(3);
            self.more().await?;
        }
    }

    async fn read_line(&mut self) -> Result<String, End> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(text(&line[..end]));
            }
            self.more().await?;
        }
    }

    /// Whatever has arrived, after waiting for at least one byte.
    async fn read_some(&mut self, most: u64) -> Result<Bytes, End> {
        while self.buffer.is_empty() {
            self.more().await?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(self.take(most))
    }

    fn take(&mut self, most: usize) -> Bytes {
        self.buffer.split_to(most.min(self.buffer.len())).freeze()
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Reads one body.
#[derive(Debug)]
pub(crate) struct BodyReader {
    framing: Framing,
    ended: Option<Piece>,
}

impl BodyReader {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            ended: None,
        }
    }

    /// The next piece; after the end, the end again.
    pub(crate) async fn next<R: AsyncRead + Unpin>(&mut self, inbox: &mut Inbox<R>) -> Piece {
        if let Some(end) = &self.ended {
            return end.clone();
        }
        let piece = match &mut self.framing {
            Framing::Length(0) => Piece::Complete,
            Framing::Length(left) => next_of_length(left, inbox).await,
            Framing::Chunked => self.next_chunk(inbox).await,
            Framing::UntilClose => next_until_close(inbox).await,
        };
        if !matches!(piece, Piece::Data(_)) {
            self.ended = Some(piece.clone());
        }
        piece
    }

    async fn next_chunk<R: AsyncRead + Unpin>(&mut self, inbox: &mut Inbox<R>) -> Piece {
        let line = match inbox.read_line().await {
            Ok(line) => line,
            Err(end) => return broken(end, "before a chunk"),
        };
        let digits = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(digits, 16) else {
            return Piece::Broken(format!("not a chunk's size: {line:?}"));
        };
        if size == 0 {
            return read_trailers(inbox).await;
        }
        while inbox.buffer.len() < size + 2 {
            if let Err(end) = inbox.more().await {
                return self.last_of_chunk(inbox.take(size), end);
            }
        }
        let data = inbox.take(size);
        match &*inbox.take(2) {
            b"\r\n" => Piece::Data(data),
            other => Piece::Broken(format!("after a chunk came {other:?}")),
        }
    }

    /// What arrived of a chunk is handed out first, and the breach afterwards.
    fn last_of_chunk(&mut self, rest: Bytes, end: End) -> Piece {
        let breach = broken(end, "within a chunk");
        if rest.is_empty() {
            return breach;
        }
        self.ended = Some(breach);
        Piece::Data(rest)
    }
}

async fn next_of_length<R: AsyncRead + Unpin>(left: &mut u64, inbox: &mut Inbox<R>) -> Piece {
    match inbox.read_some(*left).await {
        Ok(data) => {
            *left -= data.len() as u64;
            Piece::Data(data)
        }
        Err(end) => broken(end, &format!("with {left} bytes to come")),
    }
}

async fn next_until_close<R: AsyncRead + Unpin>(inbox: &mut Inbox<R>) -> Piece {
    match inbox.read_some(u64::MAX).await {
        Ok(data) => Piece::Data(data),
        Err(End::Closed) => Piece::Complete,
        Err(end) => broken(end, "in a body without framing"),
    }
}

async fn read_trailers<R: AsyncRead + Unpin>(inbox: &mut Inbox<R>) -> Piece {
    loop {
        match inbox.read_line().await {
            Ok(line) if line.is_empty() => return Piece::Complete,
            Ok(_) => {}
            Err(end) => return broken(end, "after the last chunk"),
        }
    }
}

fn broken(end: End, place: &str) -> Piece {
    Piece::Broken(format!("{end:?} {place}"))
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
