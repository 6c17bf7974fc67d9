//! A client that can stop and leave at any point.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A request to the provider's `act`, with a body of about `body_bytes`.
pub(crate) fn request(
    key: &str,
    act: &str,
    id: Option<u64>,
    body_bytes: usize,
) -> (Vec<u8>, Vec<u8>) {
    let streamed = matches!(act, "events" | "flood" | "stream-hang" | "cut" | "reset");
    let filler = "x".repeat(body_bytes);
    let body = format!(r#"{{"model":"m","stream":{streamed},"x":"{filler}"}}"#);
    let id = id.map(|id| format!("x-id: {id}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\nx-do: {act}\r\n{id}content-length: {}\r\n\r\n",
        body.len()
    );
    (head.into_bytes(), body.into_bytes())
}

pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a whole request on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, parts: &(Vec<u8>, Vec<u8>)) -> io::Result<TcpStream> {
    let mut stream = connect(address).await?;
    stream.write_all(&[&parts.0[..], &parts.1].concat()).await?;
    Ok(stream)
}

/// Reads until `words` have come; false if the connection ends before.
pub(crate) async fn read_until(stream: &mut TcpStream, words: &[u8]) -> io::Result<bool> {
    let mut read = Vec::new();
    loop {
        if read.windows(words.len()).any(|window| window == words) {
            return Ok(true);
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(false);
        }
    }
}

/// Leaves in order or by a reset.
pub(crate) fn leave(stream: TcpStream, by_reset: bool) {
    if by_reset {
        // A failure means that the connection is gone already.
        let _ = stream.set_zero_linger();
    }
}

/// The value below which `share` of `values` lie.
pub(crate) fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values
        .get((last as f64 * share).ceil() as usize)
        .copied()
        .unwrap_or_default()
}
