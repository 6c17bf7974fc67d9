//! Back-pressure: slow clients cost little and hurt nobody.

use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt as _, task::JoinHandle, time::sleep};

use crate::{
    Options, Result,
    caller::{ask, percentile, request},
    ensure,
    http::{Connection, chat},
    provider,
    site::Gateway,
};

const READERS: usize = 200;
/// What each of them may cost the gateway's own memory: mostly the dispatcher's two buffers, of which
/// one holds a piece of 16 KiB beside what it would hold anyway.
const MOST_KIB_EACH: u64 = 64;
/// Once the pipes are full, nothing grows any more. What the allocator keeps may still move a bit.
const MOST_GROWTH_KIB: u64 = 2048;
const PROBES: usize = 300;

pub(crate) async fn run(options: &Options) -> Result<()> {
    let (provider, _) = provider::start()?;
    let gateway = Gateway::start(options, "gateway", &[]).await?;
    let key = gateway.set_up(provider).await?;
    let alone = probe(&gateway, &key).await?;
    let before = gateway.memory()?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(read_slowly(&gateway, &key).await?);
    }
    sleep(Duration::from_secs(5)).await;
    let full = gateway.memory()?;
    let beside = probe(&gateway, &key).await?;
    sleep(Duration::from_secs(10)).await;
    let later = gateway.memory()?;
    let each = full.max(later).saturating_sub(before) / READERS as u64;
    println!(
        "memory: {before} KiB before, {full} with {READERS} full pipes, {later} ten seconds on: {each} KiB a stream"
    );
    println!(
        "others: p50 {:.2?} p99 {:.2?} alone, p50 {:.2?} p99 {:.2?} beside them",
        alone.0, alone.1, beside.0, beside.1
    );
    ensure(readers.iter().all(|reader| !reader.is_finished()), || {
        "a slow reader was cut off".to_owned()
    })?;
    ensure(each < MOST_KIB_EACH, || format!("{each} KiB a stream"))?;
    ensure(later < full + MOST_GROWTH_KIB, || "memory grows".to_owned())?;
    // The clients themselves take their share of two cores, so this is no exact comparison.
    let limit = 3 * alone.0 + Duration::from_millis(5);
    ensure(beside.0 < limit, || "others are held up".to_owned())?;
    readers.iter().for_each(JoinHandle::abort);
    Ok(())
}

async fn read_slowly(gateway: &Gateway, key: &str) -> Result<JoinHandle<()>> {
    let mut stream = ask(gateway.address, &request(key, "flood", None, 0)).await?;
    Ok(actix_rt::spawn(async move {
        let mut piece = [0; 1024];
        while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {
            sleep(Duration::from_secs(1)).await;
        }
    }))
}

/// Median and 99th percentile of plain requests, one after the other.
async fn probe(gateway: &Gateway, key: &str) -> Result<(Duration, Duration)> {
    let request = chat(key, "m");
    let mut connection = Connection::to(gateway.address);
    let mut took = Vec::new();
    for _ in 0..PROBES {
        let began = Instant::now();
        let answer = connection.send(&request).await?;
        took.push(began.elapsed());
        ensure(answer.status == 200, || {
            format!("a plain request: {}", answer.status)
        })?;
        sleep(Duration::from_millis(5)).await;
    }
    Ok((percentile(&mut took, 0.5), percentile(&mut took, 0.99)))
}
