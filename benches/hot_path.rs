//! What is ours on the path of a request, without the network: the key, the body, tier 1.
//! `cargo bench`; the whole path is measured by `scripts/bench.sh` and `scripts/instructions.sh`.

// A benchmark has nothing to recover from.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, future::pending, hint::black_box, path::Path, sync::mpsc, thread};

use actix_web::web::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use llm_gateway::{
    Settings,
    domain::{
        Actor, FixedHeaders, Name, NewModel, NewProvider, PlainKey, ProviderKind, Secret, Timeouts,
    },
    metrics::Metrics,
    proxy::replace_model,
    storage::Storage,
};

const KEY: &[u8] = b"sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e";

fn key(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key");
    group.bench_function("parse", |bench| {
        bench.iter(|| PlainKey::parse(black_box(KEY)).unwrap());
    });
    let key = PlainKey::parse(KEY).unwrap();
    group.bench_function("hash", |bench| bench.iter(|| black_box(&key).hash()));
    group.finish();
}

/// A chat request of this size, its fields in the order in which the official SDKs write them.
/// Text with line breaks and quotes, as prompts have it.
fn chat(size: usize) -> Bytes {
    const TEXT: &str =
        r#"She said: \"Is anybody there?\"\nNobody was, as far as anyone could see. "#;
    let head = r#"{"messages":[{"role":"user","content":""#;
    let tail = r#""}],"model":"bench","stream":true}"#;
    let room = size - head.len() - tail.len();
    let text = TEXT.repeat(room / TEXT.len()) + &" ".repeat(room % TEXT.len());
    Bytes::from([head, &text, tail].concat())
}

fn model(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find and replace model");
    for (name, size) in [
        ("1 KiB", 1 << 10),
        ("100 KiB", 100 << 10),
        ("8 MiB", 8 << 20),
    ] {
        let body = chat(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| replace_model(black_box(body.clone()), "provider-model").unwrap());
        });
    }
    group.finish();
}

/// Keys and models that tier 1 holds, among which look-ups go round.
const HELD: usize = 100;

fn tier_1(criterion: &mut Criterion) {
    let (storage, keys, models) = warm_storage();
    let mut group = criterion.benchmark_group("tier 1");
    let mut hashes = keys
        .iter()
        .map(PlainKey::hash)
        .collect::<Vec<_>>()
        .into_iter()
        .cycle();
    group.bench_function("key", |bench| {
        bench.iter(|| storage.find_key(hashes.next().unwrap()).now_or_never());
    });
    let mut models = models.iter().cycle();
    group.bench_function("route", |bench| {
        bench.iter(|| storage.find_route(models.next().unwrap()).now_or_never());
    });
    group.finish();
}

/// A storage on SQLite whose tier 1 holds all of these. Its runtime runs on a thread of its own,
/// as in the gateway, because the cache warmer must go on for tier 1 to be trusted.
fn warm_storage() -> (Storage, Vec<PlainKey>, Vec<String>) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            sender.send(fill().await).unwrap();
            pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

async fn fill() -> (Storage, Vec<PlainKey>, Vec<String>) {
    // Of the run before; this one's is open until the process ends.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hot_path");
    let _ = fs::remove_dir_all(&folder);
    let settings = Settings::from_lookup(|name| match name {
        "ADMIN_KEY" => Some("admin-key-of-the-micro-benchmarks".to_owned()),
        "DATABASE_URL" => Some(format!("sqlite://{}/gateway.db", folder.display())),
        _ => None,
    });
    let storage = Storage::open(&settings.unwrap(), &Metrics::default())
        .await
        .unwrap();
    let provider = storage.create_provider(
        Actor::default(),
        NewProvider {
            name: Name::parse("provider").unwrap(),
            kind: ProviderKind::parse("openai").unwrap(),
            api_key: Secret::new("sk-the-providers-own-key"),
            base_url: None,
            headers: FixedHeaders::default(),
            timeouts: Timeouts::default(),
        },
    );
    let provider = provider.await.unwrap();
    let (mut keys, mut models) = (Vec::new(), Vec::new());
    for number in 0..HELD {
        let (key, model) = (PlainKey::generate(), format!("model-{number}"));
        let name = Name::parse(&model).unwrap();
        storage
            .issue_key(Actor::default(), name.clone(), &key)
            .await
            .unwrap();
        storage
            .create_model(
                Actor::default(),
                NewModel {
                    name,
                    provider_id: provider.id,
                    provider_model_name: None,
                },
            )
            .await
            .unwrap();
        keys.push(key);
        models.push(model);
    }
    for (key, model) in keys.iter().zip(&models) {
        assert!(storage.find_key(key.hash()).await.unwrap().is_some());
        assert!(storage.find_route(model).await.unwrap().is_some());
    }
    (storage, keys, models)
}

criterion_group!(benches, key, model, tier_1);
criterion_main!(benches);
