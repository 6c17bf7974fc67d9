//! Requests at a fixed rate that doesn't slow down when the answers do, and what became of them.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{task::JoinHandle, time::sleep_until};

use crate::http::Connection;

/// Connections to each replica.
const CONNECTIONS: usize = 24;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 200
    Served,
    /// 401 or 404: the gateway says that this is not allowed.
    Refused,
    /// Anything else, or no answer.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    began: Instant,
    latency: Duration,
    /// From when it was sent, which may be after it was due.
    answered_in: Duration,
    outcome: Outcome,
}

/// What the requests that began within some time came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) served: usize,
    pub(crate) refused: usize,
    pub(crate) failed: usize,
    /// Sorted.
    latencies: Vec<Duration>,
    answered_in: Vec<Duration>,
}

impl Figures {
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn latency(&self, share: f64) -> Duration {
        percentile(&self.latencies, share)
    }

    /// Requests whose answers took longer, once they were sent.
    pub(crate) fn longer_than(&self, time: Duration) -> usize {
        let longer = self.answered_in.iter().filter(|taken| **taken > time);
        longer.count()
    }

    /// The longest that an answer took, once its request was sent.
    pub(crate) fn longest(&self) -> Duration {
        self.answered_in.iter().max().copied().unwrap_or_default()
    }

    pub(crate) fn p99(&self) -> Duration {
        self.latency(0.99)
    }
}

/// The value below which `share` of the sorted `values` lie; zero where there are none.
pub(crate) fn percentile(values: &[Duration], share: f64) -> Duration {
    let last = values.len().saturating_sub(1);
    let index = (last as f64 * share).ceil() as usize;
    values.get(index).copied().unwrap_or_default()
}

/// Load under way.
pub(crate) struct Load {
    samples: Rc<RefCell<Vec<Sample>>>,
    is_over: Rc<Cell<bool>>,
    task: JoinHandle<()>,
}

impl Load {
    /// Sends what `next` makes, `rate` times a second, to the replicas in turn, until it is
    /// stopped or `next` has no more.
    pub(crate) fn start(
        replicas: &[SocketAddr],
        rate: f64,
        next: impl FnMut() -> Option<Vec<u8>> + 'static,
    ) -> Self {
        let samples = Rc::new(RefCell::new(Vec::new()));
        let is_over = Rc::new(Cell::new(false));
        let next = Rc::new(RefCell::new(next));
        let lanes = CONNECTIONS * replicas.len();
        let (pause, began) = (Duration::from_secs_f64(1.0 / rate), Instant::now());
        let driving = (0..lanes).map(|lane| {
            let lane_start = began + pause.mul_f64(lane as f64);
            drive(
                Connection::to(replicas[lane % replicas.len()]),
                lane_start,
                pause.mul_f64(lanes as f64),
                Rc::clone(&next),
                Rc::clone(&samples),
                Rc::clone(&is_over),
            )
        });
        let driving = join_all(driving.collect::<Vec<_>>());
        Self {
            samples,
            is_over,
            task: actix_rt::spawn(async move { drop(driving.await) }),
        }
    }

    /// Whether every answer is there.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until `next` has no more and every answer is there.
    pub(crate) async fn end(&mut self) {
        let _ = (&mut self.task).await;
    }

    /// Sends no more and waits for the answers that are due.
    pub(crate) async fn stop(&mut self) {
        self.is_over.set(true);
        self.end().await;
    }

    /// What became of the requests that began within this time.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Figures {
        let mut figures = Figures::default();
        for sample in self.samples.borrow().iter() {
            if (from..to).contains(&sample.began) {
                match sample.outcome {
                    Outcome::Served => figures.served += 1,
                    Outcome::Refused => figures.refused += 1,
                    Outcome::Failed => figures.failed += 1,
                }
                figures.latencies.push(sample.latency);
                figures.answered_in.push(sample.answered_in);
            }
        }
        figures.latencies.sort_unstable();
        figures
    }
}

/// One connection's share: a request every `pause`. One that can't be sent in time, because the
/// answer to the one before is late, counts from the time at which it was due.
async fn drive(
    mut connection: Connection,
    mut due: Instant,
    pause: Duration,
    next: Rc<RefCell<impl FnMut() -> Option<Vec<u8>>>>,
    samples: Rc<RefCell<Vec<Sample>>>,
    is_over: Rc<Cell<bool>>,
) {
    while !is_over.get() {
        let is_late = Instant::now() > due;
        // The timer wakes up to a millisecond late; that is the driver's and not the gateway's.
        let began = if is_late {
            due
        } else {
            sleep_until(due.into()).await;
            Instant::now()
        };
        if is_over.get() {
            return;
        }
        let Some(request) = (next.borrow_mut())() else {
            return;
        };
        let sent = Instant::now();
        let outcome = match connection.send(&request).await.map(|answer| answer.status) {
            Ok(200) => Outcome::Served,
            Ok(401 | 404) => Outcome::Refused,
            _ => Outcome::Failed,
        };
        samples.borrow_mut().push(Sample {
            began,
            latency: began.elapsed(),
            answered_in: sent.elapsed(),
            outcome,
        });
        due += pause;
    }
}
