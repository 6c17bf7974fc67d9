//! Two replicas behind HAProxy, restarted in turn under load: not one request is lost.

use std::{
    cell::{Cell, RefCell},
    fs,
    net::SocketAddr,
    process::Stdio,
    rc::Rc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{process::Command, time::sleep};

use crate::{
    Options, Result,
    caller::{ask, read_until, request},
    ensure,
    http::{Connection, chat, request as plain},
    provider,
    site::Gateway,
};

/// Lanes of plain requests over connections that are kept, and of streams on new ones.
const PLAIN: usize = 16;
const STREAMS: usize = 16;
const ROUNDS: usize = 2;
/// Five times what HAProxy here takes to notice.
const DRAIN_DELAY: &str = "2s";

/// No retries: what is lost shows.
fn configuration(ports: &[u16]) -> String {
    let [front, first, second] = ports else {
        return String::new();
    };
    format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout check 2s\n  retries 0\n\
         frontend front\n  bind 127.0.0.1:{front}\n  default_backend replicas\n\
         backend replicas\n  option httpchk GET /readyz\n  http-check expect status 200\n  http-reuse always\n\
         \x20 default-server inter 200ms fall 2 rise 1\n\
         \x20 server first 127.0.0.1:{first} check\n  server second 127.0.0.1:{second} check\n"
    )
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let ports = &options.ports;
    ensure(ports.len() == 3, || "--ports needs three".to_owned())?;
    let (provider, _) = provider::start()?;
    let mut replicas = Vec::new();
    for port in &ports[1..] {
        replicas.push(replica(options, *port).await?);
    }
    let key = replicas[0].set_up(provider).await?;
    let file = options.folder.join("haproxy.cfg");
    fs::write(&file, configuration(ports))?;
    let _balancer = Command::new("haproxy")
        .args(["-db", "-q", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let front = SocketAddr::from(([127, 0, 0, 1], ports[0]));
    wait_for_both(front).await?;
    let load = Load::start(front, &key);
    sleep(Duration::from_secs(1)).await;
    for round in 1..=ROUNDS {
        for index in 0..replicas.len() {
            let port = replicas[index].address.port();
            println!("round {round}: restarting the replica on port {port}");
            replicas.remove(index).stop().await?;
            replicas.insert(index, replica(options, port).await?);
            // HAProxy asks five times a second; it must know of this one before the next goes.
            sleep(Duration::from_secs(1)).await;
        }
    }
    let (served, lost) = load.stop().await;
    println!("{served} requests served, {} lost", lost.len());
    for problem in lost.iter().take(10) {
        println!("  {problem}");
    }
    ensure(lost.is_empty(), || {
        format!("{} requests were lost", lost.len())
    })?;
    ensure(served > 1_000, || "too few requests to tell".to_owned())
}

async fn replica(options: &Options, port: u16) -> Result<Gateway> {
    let address = format!("127.0.0.1:{port}");
    let settings = [
        ("LISTEN_ADDR", address.as_str()),
        ("DRAIN_DELAY", DRAIN_DELAY),
    ];
    Gateway::start(options, &format!("replica-{port}"), &settings).await
}

async fn wait_for_both(front: SocketAddr) -> Result<()> {
    for _ in 0..200 {
        let ready = Connection::to(front)
            .send(&plain("GET", "/readyz", "", ""))
            .await;
        if ready.is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err("HAProxy passes nothing on".into())
}

/// Requests that follow one another in lanes, and what became of them.
struct Load {
    is_over: Rc<Cell<bool>>,
    served: Rc<Cell<usize>>,
    lost: Rc<RefCell<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(front: SocketAddr, key: &str) -> Self {
        let (is_over, served, lost) = (Rc::default(), Rc::default(), Rc::default());
        let lanes = (0..PLAIN + STREAMS).map(|lane| {
            let lane_of = (Rc::clone(&is_over), Rc::clone(&served), Rc::clone(&lost));
            let key = key.to_owned();
            drive(front, key, lane < PLAIN, lane_of)
        });
        let lanes = join_all(lanes.collect::<Vec<_>>());
        Self {
            is_over,
            served,
            lost,
            task: actix_rt::spawn(async move { drop(lanes.await) }),
        }
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.is_over.set(true);
        let _ = self.task.await;
        (self.served.get(), self.lost.take())
    }
}

type Shared = (Rc<Cell<bool>>, Rc<Cell<usize>>, Rc<RefCell<Vec<String>>>);

async fn drive(front: SocketAddr, key: String, is_plain: bool, shared: Shared) {
    let (is_over, served, lost) = shared;
    let mut connection = Connection::to(front);
    while !is_over.get() {
        let outcome = match is_plain {
            true => ask_plainly(&mut connection, &key).await,
            false => stream(front, &key).await,
        };
        match outcome {
            Ok(()) => served.set(served.get() + 1),
            Err(problem) => lost.borrow_mut().push(problem.to_string()),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ask_plainly(connection: &mut Connection, key: &str) -> Result<()> {
    let answer = connection.send(&chat(key, "m")).await?;
    ensure(answer.status == 200, || {
        format!("a plain request: {}", answer.status)
    })
}

async fn stream(front: SocketAddr, key: &str) -> Result<()> {
    let mut stream = ask(front, &request(key, "events", None, 100)).await?;
    let is_whole = read_until(&mut stream, b"\r\n0\r\n\r\n").await?;
    ensure(is_whole, || "a stream ended early".to_owned())
}
