//! Mixed traffic, errors and disconnects for a long time: nothing may grow, and nothing unexpected
//! may happen.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{
    Options, Result,
    caller::{ask, leave, read_until, request},
    ensure,
    http::Connection,
    provider,
    site::Gateway,
    until,
};

/// Clients at once; more would only measure the machine.
const LANES: usize = 24;
const PAUSE: Duration = Duration::from_millis(10);
/// Lines that the report has, about.
const LINES: u32 = 24;
const MOST_NEW_DESCRIPTORS: usize = 32;
/// What the allocator may move: a tenth, and this.
const MOST_GROWTH_KIB: u64 = 4096;

/// What a client does, and what must become of it.
#[derive(Clone, Copy)]
enum Act {
    /// Asks the provider for this and expects the status, and a whole answer.
    Answered(&'static str, usize, u16),
    /// Expects an answer that breaks off.
    Broken(&'static str),
    /// Leaves before the answer.
    LeavesEarly,
    /// Leaves in the middle of this answer.
    LeavesLate(&'static str),
    /// Sends what is refused with this status.
    Refused(u16),
}

/// In turns; each lane is somewhere else.
const ACTS: [Act; 32] = [
    Act::Answered("whole", 100, 200),
    Act::Answered("events", 100, 200),
    Act::LeavesEarly,
    Act::Answered("whole", 4_000, 200),
    Act::Refused(401),
    Act::Broken("cut"),
    Act::Answered("whole", 100, 200),
    Act::LeavesLate("stream-hang"),
    Act::Answered("error", 100, 500),
    Act::Answered("events", 100, 200),
    Act::Answered("whole", 100, 200),
    Act::Broken("reset"),
    Act::Answered("close", 100, 200),
    Act::Refused(404),
    Act::Answered("whole", 1 << 20, 200),
    Act::LeavesLate("flood"),
    Act::Answered("whole", 100, 200),
    Act::Answered("garbage", 100, 502),
    Act::Answered("whole", 20_000, 200),
    Act::LeavesEarly,
    Act::Refused(400),
    Act::Answered("events", 100, 200),
    Act::Answered("whole", 100, 200),
    Act::Answered("refuse-early", 1 << 20, 413),
    Act::LeavesLate("stream-hang"),
    Act::Answered("whole", 100, 200),
    Act::Answered("close", 100, 200),
    Act::LeavesLate("events"),
    Act::Answered("whole", 100, 200),
    Act::Answered("read-late", 1 << 20, 200),
    Act::Answered("error", 100, 500),
    Act::Answered("whole", 100, 200),
];

#[derive(Default)]
struct Tally {
    done: Cell<u64>,
    unexpected: RefCell<BTreeMap<String, u64>>,
    is_over: Cell<bool>,
}

impl Tally {
    fn unexpected(&self) -> u64 {
        self.unexpected.borrow().values().sum()
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let (provider, _) = provider::start()?;
    let gateway = Rc::new(Gateway::start(options, "gateway", &[]).await?);
    let key = gateway.set_up(provider).await?;
    let tally = Rc::new(Tally::default());
    let idle_descriptors = gateway.descriptors();
    let lanes = (0..LANES).map(|lane| {
        drive(
            Rc::clone(&gateway),
            key.clone(),
            lane * 5,
            Rc::clone(&tally),
        )
    });
    let lanes = join_all(lanes.collect::<Vec<_>>());
    let lanes = actix_rt::spawn(async move { drop(lanes.await) });

    let whole = Duration::from_secs_f64(options.minutes * 60.0);
    let began = Instant::now();
    let mut memory = Vec::new();
    println!(
        "{:>8} {:>10} {:>12} {:>11} {:>11}",
        "seconds", "requests", "memory KiB", "open files", "unexpected"
    );
    while began.elapsed() < whole {
        sleep(whole / LINES).await;
        memory.push(gateway.memory()?);
        println!(
            "{:>8} {:>10} {:>12} {:>11} {:>11}",
            began.elapsed().as_secs(),
            tally.done.get(),
            gateway.memory()?,
            gateway.descriptors(),
            tally.unexpected(),
        );
    }
    tally.is_over.set(true);
    let _ = lanes.await;
    judge(&gateway, &tally, &memory, idle_descriptors).await?;
    let gateway = Rc::into_inner(gateway).ok_or("a lane goes on")?;
    gateway.stop().await
}

async fn judge(
    gateway: &Gateway,
    tally: &Tally,
    memory: &[u64],
    idle_descriptors: usize,
) -> Result<()> {
    for (problem, times) in tally.unexpected.borrow().iter() {
        println!("unexpected, {times} times: {problem}");
    }
    let most = idle_descriptors + MOST_NEW_DESCRIPTORS;
    let patience = Duration::from_secs(15);
    until("descriptors to be given back", patience, || {
        gateway.descriptors() <= most
    })
    .await?;
    let (middle, end) = (mean(memory, 1), mean(memory, 3));
    println!(
        "memory: {middle} KiB in the second quarter, {end} in the last; open files: {idle_descriptors} at the start, {} at the end",
        gateway.descriptors()
    );
    ensure(tally.unexpected() == 0, || {
        "something unexpected happened".to_owned()
    })?;
    ensure(end < middle + middle / 10 + MOST_GROWTH_KIB, || {
        "memory grows".to_owned()
    })
}

/// Of a quarter of the time.
fn mean(memory: &[u64], quarter: usize) -> u64 {
    let length = memory.len() / 4;
    let part = &memory[quarter * length..(quarter + 1) * length];
    part.iter().sum::<u64>() / part.len().max(1) as u64
}

async fn drive(gateway: Rc<Gateway>, key: String, first: usize, tally: Rc<Tally>) {
    let mut kept = Connection::to(gateway.address);
    let mut number = first;
    while !tally.is_over.get() {
        let act = ACTS[number % ACTS.len()];
        if let Err(problem) = perform(act, number, &gateway, &key, &mut kept).await {
            let mut unexpected = tally.unexpected.borrow_mut();
            *unexpected.entry(problem.to_string()).or_default() += 1;
        }
        number += 1;
        tally.done.set(tally.done.get() + 1);
        sleep(PAUSE).await;
    }
}

async fn perform(
    act: Act,
    number: usize,
    gateway: &Gateway,
    key: &str,
    kept: &mut Connection,
) -> Result<()> {
    let by_reset = number.is_multiple_of(2);
    match act {
        Act::Answered(what, bytes, status) => {
            let (head, body) = request(key, what, None, bytes);
            expect(kept, &[head, body].concat(), what, status).await
        }
        Act::Refused(status) => {
            let (head, body) = request(key, "whole", None, 100);
            let request = String::from_utf8([head, body].concat())?;
            let request = match status {
                401 => request.replace(key, "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e"),
                404 => request.replace(r#""m""#, r#""n""#),
                _ => request.replace(r#"{"model""#, r#"["model""#),
            };
            expect(kept, request.as_bytes(), "refused", status).await
        }
        Act::Broken(what) => {
            let (head, body) = request(key, what, None, 100);
            let answer = Connection::to(gateway.address)
                .send(&[head, body].concat())
                .await;
            match answer {
                Ok(answer) => Err(format!("{what}: a whole answer with {}", answer.status).into()),
                Err(_) => Ok(()),
            }
        }
        Act::LeavesEarly => {
            let stream = ask(gateway.address, &request(key, "hang", None, 100)).await?;
            sleep(PAUSE).await;
            leave(stream, by_reset);
            Ok(())
        }
        Act::LeavesLate(what) => {
            let mut stream = ask(gateway.address, &request(key, what, None, 100)).await?;
            let begun = read_until(&mut stream, b"\r\n\r\n").await?;
            leave(stream, by_reset);
            ensure(begun, || format!("{what}: no answer"))
        }
    }
}

async fn expect(to: &mut Connection, request: &[u8], what: &str, status: u16) -> Result<()> {
    let answer = to
        .send(request)
        .await
        .map_err(|error| format!("{what}: {error}"))?;
    ensure(answer.status == status, || {
        format!("{what}: {} for {status}", answer.status)
    })
}
