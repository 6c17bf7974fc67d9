//! An answer before it is sent: one body, or events one after another; and how each is played out
//! with its pauses and, if asked for, its cut.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::body::SizedStream;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::Value;

use crate::settings::Settings;

/// An answer, built once and cheap to copy.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A JSON body.
    Whole(Bytes),
    /// A body of another media type.
    Other(&'static str, Bytes),
    /// Server-sent events.
    Stream(Events),
}

/// The events of a stream. Its middle is one event repeated, so that length costs no memory.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) opening: Vec<Bytes>,
    pub(crate) repeated: Bytes,
    pub(crate) times: usize,
    pub(crate) closing: Vec<Bytes>,
}

/// An event with a name, as those APIs send it that have several kinds.
pub(crate) fn named(data: &Value) -> Bytes {
    let name = data["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

impl Events {
    fn get(&self, index: usize) -> Option<Bytes> {
        let after_opening = match index.checked_sub(self.opening.len()) {
            None => return self.opening.get(index).cloned(),
            Some(rest) => rest,
        };
        match after_opening.checked_sub(self.times) {
            None => Some(self.repeated.clone()),
            Some(rest) => self.closing.get(rest).cloned(),
        }
    }
}

impl Answer {
    /// A JSON body made from a value.
    pub(crate) fn json(body: &Value) -> Self {
        Self::Whole(Bytes::from(body.to_string()))
    }

    /// The response that sends this answer as the settings say.
    pub(crate) fn response(self, request_id: &str, settings: &Settings) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.insert_header(("x-request-id", request_id));
        match self {
            Self::Whole(body) => whole(response, "application/json", body, settings),
            Self::Other(media_type, body) => whole(response, media_type, body, settings),
            Self::Stream(events) => response
                .insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"))
                .insert_header((CACHE_CONTROL, "no-cache"))
                .streaming(play(events, settings)),
        }
    }
}

fn whole(
    mut response: HttpResponseBuilder,
    media_type: &str,
    body: Bytes,
    settings: &Settings,
) -> HttpResponse {
    response.insert_header((CONTENT_TYPE, media_type));
    match settings.cut {
        None => response.body(body),
        Some(_) => response.body(half_of(body)),
    }
}

/// A body that declares its whole length and stops half-way.
fn half_of(
    body: Bytes,
) -> SizedStream<impl Stream<Item = Result<Bytes, Box<dyn std::error::Error>>>> {
    let length = body.len() as u64;
    let half = body.slice(..body.len() / 2);
    let pieces = stream::unfold(Some(half), |half| async move {
        let piece = match half {
            Some(half) => (Ok(half), None),
            None => (Err(cut().await.into()), None),
        };
        Some(piece)
    });
    SizedStream::new(length, Box::pin(pieces))
}

fn play(events: Events, settings: &Settings) -> impl Stream<Item = Result<Bytes, Cut>> + use<> {
    let player = Player {
        events,
        next: 0,
        pause: settings.chunk_delay,
        timed: settings.timed,
        cut: settings.cut,
    };
    stream::unfold(player, |mut player| async move {
        player.step().await.map(|event| (event, player))
    })
}

struct Player {
    events: Events,
    next: usize,
    pause: Duration,
    timed: bool,
    cut: Option<usize>,
}

impl Player {
    async fn step(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.cut == Some(self.next) {
            return Some(Err(cut().await));
        }
        let event = self.events.get(self.next)?;
        if self.next > 0 {
            self.wait().await;
        }
        self.next += 1;
        Some(Ok(if self.timed { timed(&event) } else { event }))
    }

    /// Even without a pause, events leave one by one, as a provider's do: the server writes when a
    /// body has nothing ready.
    async fn wait(&self) {
        match self.pause.is_zero() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(self.pause).await,
        }
    }
}

/// The event behind a comment that says when it left.
fn timed(event: &Bytes) -> Bytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut timed = format!(": sent {}\n", now.unwrap_or_default().as_nanos()).into_bytes();
    timed.extend_from_slice(event);
    timed.into()
}

/// Ends the connection: the server drops it when a body fails.
#[derive(Debug, derive_more::Display, derive_more::Error)]
#[display("the connection is cut here, as the request asked for")]
struct Cut;

/// Waits until what was sent before has been handed to the socket: the server writes when a body
/// has nothing ready, and throws away what it still holds when a body fails.
async fn cut() -> Cut {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_and_end() {
        let events = Events {
            opening: vec![Bytes::from_static(b"a")],
            repeated: Bytes::from_static(b"b"),
            times: 2,
            closing: vec![Bytes::from_static(b"c")],
        };
        let all: Vec<Bytes> = (0..).map_while(|index| events.get(index)).collect();
        assert_eq!(all.concat(), b"abbc");
    }

    #[test]
    fn a_timed_event_stays_the_same_to_whoever_reads_events() {
        let timed = timed(&Bytes::from_static(b"data: x\n\n"));
        let (comment, event) = timed.split_at(timed.iter().position(|&b| b == b'\n').unwrap() + 1);
        assert!(comment.starts_with(b": sent 1"));
        assert_eq!(event, b"data: x\n\n");
    }
}
