//! Clients that leave at every stage, thousands of times: the provider is let go within a second,
//! and nothing is left behind.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt as _, time::sleep};

use crate::{
    Options, Result,
    caller::{ask, connect, leave, percentile, read_until, request},
    ensure,
    http::{Connection, chat},
    provider::{self, Seen},
    site::Gateway,
    until,
};

/// Clients at once, fewer than the gateway has places.
const LANES: usize = 32;
const PLACES: usize = 64;
const BUFFERED: usize = 64 << 20;
/// A client that has left is a second later at most unknown to the provider as well.
const BOUND: Duration = Duration::from_secs(1);
/// Kept-alive connections to the provider and what else comes and goes.
const MOST_NEW_DESCRIPTORS: usize = 16;
/// What the allocator may keep.
const MOST_GROWTH_KIB: u64 = 16 * 1024;

/// When a client leaves.
#[derive(Clone, Copy)]
enum Stage {
    InHead,
    InUpload,
    AtOnce,
    BeforeAnswer,
    WhileSentOn,
    WhileSilent,
    InFlood,
}

/// One that moves megabytes comes seldom.
const STAGES: [Stage; 25] = {
    let mut stages = [Stage::BeforeAnswer; 25];
    let mut index = 0;
    while index < 25 {
        stages[index] = match index {
            0 => Stage::WhileSentOn,
            1 => Stage::InFlood,
            _ => match index % 5 {
                0 => Stage::InHead,
                1 => Stage::InUpload,
                2 => Stage::AtOnce,
                3 => Stage::BeforeAnswer,
                _ => Stage::WhileSilent,
            },
        };
        index += 1;
    }
    stages
};

pub(crate) async fn run(options: &Options) -> Result<()> {
    let (provider, seen) = provider::start()?;
    let settings = [
        ("MAX_CONCURRENT_REQUESTS", PLACES.to_string()),
        ("MAX_BUFFERED_BYTES", BUFFERED.to_string()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let gateway = Gateway::start(options, "gateway", &settings).await?;
    let key = gateway.set_up(provider).await?;
    let warm_up = options.count / 10;
    leave_again_and_again(&gateway, &key, &seen, 0, warm_up).await?;
    settle(&gateway, usize::MAX).await?;
    let (memory, descriptors) = (gateway.memory()?, gateway.descriptors());
    let began = Instant::now();
    let mut delays = leave_again_and_again(&gateway, &key, &seen, warm_up, options.count).await?;
    println!("{} clients left in {:.1?}", options.count, began.elapsed());
    println!(
        "the provider's connection ended after p50 {:.2?}, p99 {:.2?}, at most {:.2?} ({} seen)",
        percentile(&mut delays, 0.5),
        percentile(&mut delays, 0.99),
        percentile(&mut delays, 1.0),
        delays.len(),
    );
    let slowest = percentile(&mut delays, 1.0);
    ensure(slowest < BOUND, || {
        format!("one was let go only after {slowest:?}")
    })?;
    settle(&gateway, descriptors + MOST_NEW_DESCRIPTORS).await?;
    println!(
        "memory: {memory} KiB, then {} KiB; open files: {descriptors}, then {}",
        gateway.memory()?,
        gateway.descriptors()
    );
    let growth = gateway.memory()?.saturating_sub(memory);
    ensure(growth < MOST_GROWTH_KIB, || {
        format!("memory grew by {growth} KiB")
    })?;
    every_place_is_free(&gateway, &key).await?;
    gateway.stop().await
}

/// Waits until no more files are open than that.
async fn settle(gateway: &Gateway, descriptors: usize) -> Result<()> {
    // What the clients' side ended, the gateway notices with its next turn.
    sleep(Duration::from_secs(1)).await;
    until(
        "descriptors to be given back",
        Duration::from_secs(10),
        || gateway.descriptors() <= descriptors,
    )
    .await
}

async fn leave_again_and_again(
    gateway: &Gateway,
    key: &str,
    seen: &Seen,
    first: usize,
    count: usize,
) -> Result<Vec<Duration>> {
    let next = Rc::new(Cell::new(first));
    let lanes = (0..LANES).map(|_| {
        let next = Rc::clone(&next);
        async move {
            let mut delays = Vec::new();
            loop {
                let number = next.replace(next.get() + 1);
                if number >= first + count {
                    return Ok(delays);
                }
                delays.extend(leave_once(gateway, key, seen, number).await?);
            }
        }
    });
    let delays: Result<Vec<Vec<Duration>>> = join_all(lanes).await.into_iter().collect();
    Ok(delays?.concat())
}

/// How long the provider kept its connection after the client had left, where it had one.
async fn leave_once(
    gateway: &Gateway,
    key: &str,
    seen: &Seen,
    number: usize,
) -> Result<Option<Duration>> {
    let id = number as u64;
    let by_reset = (number / STAGES.len()).is_multiple_of(2);
    let stage = STAGES[number % STAGES.len()];
    let to = gateway.address;
    let asking = |act, bytes| request(key, act, Some(id), bytes);
    let mut must_be_seen = true;
    let stream = match stage {
        Stage::InHead => {
            let mut stream = connect(to).await?;
            let (head, _) = asking("hang", 0);
            stream.write_all(&head[..head.len() / 2]).await?;
            must_be_seen = false;
            stream
        }
        Stage::InUpload => {
            let (head, body) = asking("hang", 64 << 10);
            let mut stream = connect(to).await?;
            stream
                .write_all(&[&head[..], &body[..body.len() / 2]].concat())
                .await?;
            must_be_seen = false;
            stream
        }
        Stage::AtOnce => {
            must_be_seen = false;
            ask(to, &asking("hang", 100)).await?
        }
        Stage::BeforeAnswer => ask(to, &asking("hang", 100)).await?,
        Stage::WhileSentOn => ask(to, &asking("read-late", 1 << 20)).await?,
        Stage::WhileSilent | Stage::InFlood => {
            let act = match stage {
                Stage::InFlood => "flood",
                _ => "stream-hang",
            };
            let mut stream = ask(to, &asking(act, 100)).await?;
            let begun = read_until(&mut stream, b"\r\n\r\n").await?;
            ensure(begun, || "a stream did not begin".to_owned())?;
            stream
        }
    };
    if must_be_seen {
        until("a request to reach the provider", BOUND * 10, || {
            seen.of(id).is_some()
        })
        .await?;
    }
    leave(stream, by_reset);
    let left = Instant::now();
    if !must_be_seen {
        // It may or may not have got that far; if it has, it ends.
        sleep(Duration::from_millis(1)).await;
        if seen.of(id).is_none() {
            return Ok(None);
        }
    }
    let has_ended = || seen.of(id).flatten().is_some();
    until("the provider's connection to end", BOUND * 10, has_ended).await?;
    let ended = seen.of(id).flatten().unwrap_or(left);
    Ok(Some(ended.saturating_duration_since(left)))
}

/// No place and no memory for bodies has got lost.
async fn every_place_is_free(gateway: &Gateway, key: &str) -> Result<()> {
    let mut running = Vec::new();
    for _ in 0..PLACES {
        let mut stream = ask(gateway.address, &request(key, "stream-hang", None, 0)).await?;
        let begun = read_until(&mut stream, b"HTTP/1.1 200 ").await?;
        ensure(begun, || format!("only {} places are left", running.len()))?;
        running.push(stream);
    }
    let plain = chat(key, "m");
    let refused = Connection::to(gateway.address).send(&plain).await?;
    ensure(refused.status == 503, || {
        format!("one too many: {}", refused.status)
    })?;
    drop(running);
    let mut status = 503;
    let deadline = Instant::now() + BOUND * 10;
    while status == 503 && Instant::now() < deadline {
        status = Connection::to(gateway.address).send(&plain).await?.status;
    }
    let (head, body) = request(key, "whole", None, (32 << 20) - 100);
    // Two at once, so that together they take nearly all of the memory for bodies.
    let large = [head, body].concat();
    let both =
        join_all((0..2).map(|_| async { Connection::to(gateway.address).send(&large).await }));
    for answer in both.await {
        let status = answer?.status;
        ensure(status == 200, || format!("a large body: {status}"))?;
    }
    Ok(())
}
