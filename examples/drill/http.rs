//! One keep-alive connection over HTTP/1.1 that costs the driver little: requests are bytes made
//! beforehand, and of an answer only status and body are read.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// An answer that takes longer counts as none. Longer than anything that the gateway waits for.
const PATIENCE: Duration = Duration::from_secs(15);
/// Headers of an answer, more than any here has.
const MOST_HEADERS: usize = 64;

/// A connection, opened when it is needed and opened anew after a failure.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// What the head of an answer says.
struct Head {
    status: u16,
    framing: Framing,
    /// Where the body begins.
    length: usize,
    /// The gateway closes a connection rather than read the body of a request that it refused.
    closes: bool,
}

enum Framing {
    Length(usize),
    Chunked,
}

/// A request as bytes.
pub(crate) fn request(method: &str, path: &str, bearer: &str, body: &str) -> Vec<u8> {
    let kind = match body {
        "" => "",
        _ => "Content-Type: application/json\r\n",
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {bearer}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A chat completion that asks for `model`.
pub(crate) fn chat(key: &str, model: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"model":"{model}","messages":[{{"role":"user","content":"Is anybody there?"}}]}}"#
    );
    request("POST", "/v1/chat/completions", key, &body)
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        let answer = timeout(PATIENCE, self.exchange(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(request).await?;
        self.buffer.clear();
        let head = self.read_head(&mut stream).await?;
        let body = match head.framing {
            Framing::Length(length) => self.read_length(&mut stream, head.length, length).await?,
            Framing::Chunked => self.read_chunks(&mut stream, head.length).await?,
        };
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok(Answer {
            status: head.status,
            body,
        })
    }

    async fn more(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn read_head(&mut self, stream: &mut TcpStream) -> io::Result<Head> {
        loop {
            self.more(stream).await?;
            if let Some(head) = parse_head(&self.buffer)? {
                return Ok(head);
            }
        }
    }

    async fn read_length(
        &mut self,
        stream: &mut TcpStream,
        head: usize,
        length: usize,
    ) -> io::Result<Vec<u8>> {
        while self.buffer.len() < head + length {
            self.more(stream).await?;
        }
        Ok(self.buffer[head..head + length].to_vec())
    }

    async fn read_chunks(&mut self, stream: &mut TcpStream, head: usize) -> io::Result<Vec<u8>> {
        let (mut body, mut at) = (Vec::new(), head);
        loop {
            let (digits, size) = loop {
                match httparse::parse_chunk_size(&self.buffer[at..]) {
                    Ok(httparse::Status::Complete((digits, size))) => break (digits, size),
                    Ok(httparse::Status::Partial) => self.more(stream).await?,
                    Err(_) => return Err(ErrorKind::InvalidData.into()),
                }
            };
            let size = usize::try_from(size).map_err(io::Error::other)?;
            let end = at + digits + size + "\r\n".len();
            while self.buffer.len() < end {
                self.more(stream).await?;
            }
            body.extend_from_slice(&self.buffer[at + digits..at + digits + size]);
            if size == 0 {
                return Ok(body);
            }
            at = end;
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(io::Error::other)?
    else {
        return Ok(None);
    };
    let mut head = Head {
        status: response.code.unwrap_or_default(),
        framing: Framing::Length(0),
        length,
        closes: false,
    };
    for header in response.headers {
        let value = std::str::from_utf8(header.value).map_err(io::Error::other)?;
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                head.framing = Framing::Length(value.trim().parse().map_err(io::Error::other)?);
            }
            "transfer-encoding" => head.framing = Framing::Chunked,
            "connection" => head.closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    Ok(Some(head))
}
