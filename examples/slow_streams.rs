//! Many slow streams at once, and how late each of their events arrives, for `scripts/bench.sh`:
//! load generators count whole answers only. Reads the time at which the mock provider sent an
//! event (its setting `timed`) and prints, as JSON, percentiles in microseconds.
//!
//! Usage: `slow_streams --address HOST:PORT --path PATH --body FILE --connections N
//! --ramp SECONDS --limit SECONDS [--header 'NAME: VALUE']…`
//!
//! Prints the line `open` once every stream has begun. Lags are those of events after that.

// A program for the terminal: it speaks on standard output, and its tasks end with it.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

use std::{
    cell::RefCell,
    error::Error,
    fs, io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use memchr::memmem;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

/// What stands before the time at which an event was sent.
const SENT: &[u8] = b": sent ";
/// The end of a body in chunks.
const END: &[u8] = b"\r\n0\r\n\r\n";

struct Options {
    address: SocketAddr,
    request: Vec<u8>,
    connections: u32,
    ramp: Duration,
    limit: Duration,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut address, mut path, mut headers, mut body) = (None, None, String::new(), None);
        let (mut connections, mut ramp, mut limit) = (1, Duration::ZERO, Duration::from_secs(60));
        while let Some(flag) = args.next() {
            let value = args.next().ok_or(format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--address" => address = Some(value.parse()?),
                "--path" => path = Some(value),
                "--header" => headers += &format!("{value}\r\n"),
                "--body" => body = Some(fs::read_to_string(value)?),
                "--connections" => connections = value.parse()?,
                "--ramp" => ramp = Duration::try_from_secs_f64(value.parse()?)?,
                "--limit" => limit = Duration::try_from_secs_f64(value.parse()?)?,
                _ => return Err(format!("there is no flag {flag}").into()),
            }
        }
        let address = address.ok_or("--address is missing")?;
        let (path, body) = (
            path.ok_or("--path is missing")?,
            body.ok_or("--body is missing")?,
        );
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        Ok(Self {
            address,
            request: request.into_bytes(),
            connections,
            ramp,
            limit,
        })
    }
}

/// What all streams together have seen.
#[derive(Default)]
struct Seen {
    first_bytes: Vec<Duration>,
    lags: Vec<Duration>,
    failed: u32,
    all_open: bool,
}

impl Seen {
    fn add_first(&mut self, after: Duration, connections: u32) {
        self.first_bytes.push(after);
        if self.first_bytes.len() == connections as usize {
            println!("open");
            self.all_open = true;
        }
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Rc::new(Options::parse(std::env::args().skip(1))?);
    let seen = Rc::new(RefCell::new(Seen::default()));
    let streams = (0..options.connections).map(|number| {
        let (options, seen) = (Rc::clone(&options), Rc::clone(&seen));
        async move {
            sleep(options.ramp * number / options.connections).await;
            let outcome = timeout(options.limit, stream(&options, &seen)).await;
            if let Ok(Err(problem)) = &outcome {
                eprintln!("slow_streams: {problem}");
            }
            seen.borrow_mut().failed += u32::from(!matches!(outcome, Ok(Ok(()))));
        }
    });
    join_all(streams.map(actix_web::rt::spawn)).await;
    print(&mut seen.borrow_mut());
    Ok(())
}

/// One stream, read to its end.
async fn stream(options: &Options, seen: &RefCell<Seen>) -> io::Result<()> {
    let mut connection = TcpStream::connect(options.address).await?;
    let began = Instant::now();
    connection.write_all(&options.request).await?;
    let (mut buffer, mut is_first) = (Vec::with_capacity(4096), true);
    while !buffer.ends_with(END) {
        if connection.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut seen = seen.borrow_mut();
        if std::mem::take(&mut is_first) {
            if !buffer.starts_with(b"HTTP/1.1 200 ") {
                return Err(io::Error::other(String::from_utf8_lossy(&buffer)));
            }
            seen.add_first(began.elapsed(), options.connections);
        }
        let read = take_lags(&buffer, now, &mut seen);
        buffer.drain(..read);
    }
    Ok(())
}

/// Notes the lag of every event whose time is there as a whole. What is before the last of them,
/// or can't be one, is done with.
fn take_lags(buffer: &[u8], now: Duration, seen: &mut Seen) -> usize {
    let mut done = 0;
    while let Some(at) = memmem::find(&buffer[done..], SENT) {
        let digits = &buffer[done + at + SENT.len()..];
        let Some(end) = digits.iter().position(|byte| *byte == b'\n') else {
            return done + at;
        };
        let sent = std::str::from_utf8(&digits[..end])
            .ok()
            .and_then(|it| it.parse().ok());
        if let Some(sent) = sent.filter(|_| seen.all_open) {
            seen.lags
                .push(now.saturating_sub(Duration::from_nanos(sent)));
        }
        done += at + SENT.len() + end;
    }
    // The end of the body, or the beginning of a time, may be there in part.
    done.max(buffer.len().saturating_sub(END.len()))
}

fn print(seen: &mut Seen) {
    let (streams, events) = (seen.first_bytes.len(), seen.lags.len());
    let outcome = json!({
        "streams": streams,
        "failed": seen.failed,
        "events": events,
        "first_byte": percentiles(&mut seen.first_bytes),
        "lag": percentiles(&mut seen.lags),
    });
    println!("{outcome}");
}

fn percentiles(values: &mut [Duration]) -> serde_json::Value {
    values.sort_unstable();
    let at = |share: f64| {
        let index = (values.len().saturating_sub(1) as f64 * share).ceil() as usize;
        values.get(index).map(|value| value.as_secs_f64() * 1e6)
    };
    json!({"p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999)})
}
