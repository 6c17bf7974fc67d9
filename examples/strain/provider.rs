//! A provider that does with each request what its header `x-do` says, and remembers when the
//! connections end that it would have kept. It runs on a thread of its own.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

/// What a header of a stream says.
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// How much a flood sends: what a very long answer has.
const FLOOD: usize = 50 << 20;
const FLOOD_PIECE: usize = 64 << 10;
/// How many events a slow stream has, and the pause before each.
const EVENTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// What is known of requests that carried an `x-id`.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<HashMap<u64, Option<Instant>>>>);

impl Seen {
    fn note(&self, id: u64, ended: Option<Instant>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(id, ended);
    }

    /// Whether the request came; then when its connection ended, if it has.
    pub(crate) fn of(&self, id: u64) -> Option<Option<Instant>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&id).copied()
    }
}

/// Starts one; it ends with the process.
pub(crate) fn start() -> io::Result<(SocketAddr, Seen)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let seen = Seen::default();
    let of_thread = seen.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::spawn(move || {
        let serving = LocalSet::new();
        runtime.block_on(serving.run_until(listen(listener, of_thread)))
    });
    Ok((address, seen))
}

async fn listen(listener: std::net::TcpListener, seen: Seen) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let seen = seen.clone();
        // A gateway may end any connection; when it did is what counts.
        tokio::task::spawn_local(async move { drop(serve(stream, seen).await) });
    }
}

async fn serve(mut stream: TcpStream, seen: Seen) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                let rest = buffer.split_off(end + 4);
                break String::from_utf8_lossy(&std::mem::replace(&mut buffer, rest)).into_owned();
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let id = header(&head, "x-id").and_then(|id| id.parse().ok());
        if let Some(id) = id {
            seen.note(id, None);
        }
        let length: usize = header(&head, "content-length").map_or(0, |n| n.parse().unwrap_or(0));
        let act = header(&head, "x-do").unwrap_or("whole").to_owned();
        let outcome = answer(&mut stream, &mut buffer, &act, length).await;
        if let Some(id) = id {
            seen.note(id, Some(Instant::now()));
        }
        match outcome {
            Ok(true) => {}
            Ok(false) if act == "reset" => return stream.set_zero_linger(),
            Ok(false) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Whether the connection goes on.
async fn answer(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    act: &str,
    length: usize,
) -> io::Result<bool> {
    if act == "refuse-early" {
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo much")
            .await?;
        tokio::time::sleep(PAUSE).await;
        return Ok(false);
    }
    if act == "read-late" {
        // Its buffers fill up, and the gateway waits.
        tokio::time::sleep(10 * PAUSE).await;
    }
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
    }
    buffer.drain(..length);
    match act {
        "hang" => gone(stream).await,
        "stream-hang" => {
            stream.write_all(STREAM).await?;
            stream.write_all(&chunk(b"data: 1\n\n")).await?;
            gone(stream).await
        }
        "flood" => flood(stream).await,
        "events" => {
            stream.write_all(STREAM).await?;
            for _ in 0..EVENTS {
                tokio::time::sleep(PAUSE).await;
                stream
                    .write_all(&chunk(b"data: {\"choices\":[]}\n\n"))
                    .await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
            Ok(true)
        }
        "cut" | "reset" => {
            stream.write_all(STREAM).await?;
            stream.write_all(&chunk(b"data: 1\n\n")).await?;
            tokio::time::sleep(PAUSE).await;
            Ok(false)
        }
        "garbage" => {
            stream.write_all(b"this is no HTTP\r\n\r\n").await?;
            gone(stream).await
        }
        "error" => {
            let body =
                br#"{"error":{"message":"no","type":"server_error","param":null,"code":null}}"#;
            stream.write_all(&whole(500, body)).await?;
            Ok(true)
        }
        "close" => {
            stream.write_all(&whole(200, b"{}")).await?;
            Ok(false)
        }
        _ => {
            stream
                .write_all(&whole(200, br#"{"object":"chat.completion"}"#))
                .await?;
            Ok(true)
        }
    }
}

/// Sends and looks out for the client's end at the same time.
async fn flood(stream: &mut TcpStream) -> io::Result<bool> {
    let piece = chunk(&vec![b'x'; FLOOD_PIECE]);
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        writer.write_all(STREAM).await?;
        for _ in 0..FLOOD / FLOOD_PIECE {
            writer.write_all(&piece).await?;
        }
        writer.write_all(b"0\r\n\r\n").await
    };
    let mut scrap = [0; 1024];
    tokio::select! {
        sent = sending => sent.map(|()| true),
        _ = reader.read(&mut scrap) => Ok(false),
    }
}

/// Waits until the client has gone.
async fn gone(stream: &mut TcpStream) -> io::Result<bool> {
    let mut scrap = [0; 1024];
    while stream.read(&mut scrap).await? > 0 {}
    Ok(false)
}

fn whole(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
