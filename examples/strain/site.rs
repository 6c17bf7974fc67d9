//! A gateway on SQLite, set up for one provider, and what the system says about its process.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    Options, Result, ensure,
    http::{Connection, request},
};

const ADMIN_KEY: &str = "strain-admin-key-0123456789";
/// The longest that a gateway may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway process, killed with this value.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts one and waits until it listens. All of them in one folder share its database.
    pub(crate) async fn start(
        options: &Options,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let log = options.folder.join(format!("{name}.log"));
        let file = fs::File::create(&log)?;
        let mut child = Command::new(&options.program)
            .current_dir(&options.folder)
            .env_clear()
            .envs([
                ("ADMIN_KEY", ADMIN_KEY),
                ("DATABASE_URL", "sqlite://strain.db"),
                ("LISTEN_ADDR", "127.0.0.1:0"),
                ("DRAIN_DELAY", "0"),
                ("WORKERS", "2"),
                // A line for each request, and another for each broken answer, would be most of the
                // work.
                ("RUST_LOG", "info,access=off,llm_gateway::proxy=error"),
            ])
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = address_in(&log)? {
                return Ok(Self { child, address });
            }
            let lives = child.try_wait()?.is_none() && Instant::now() < deadline;
            ensure(lives, || {
                format!("{name} did not start; see {}", log.display())
            })?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Maps the model `m` to a provider; answers a user key.
    pub(crate) async fn set_up(&self, provider: SocketAddr) -> Result<String> {
        let base_url = format!("http://{provider}/v1");
        let provider =
            json!({"name": "p", "kind": "openai", "api_key": "sk-strain", "base_url": base_url});
        let provider = self.create("/admin/providers", provider).await?;
        self.create(
            "/admin/models",
            json!({"name": "m", "provider_id": provider["id"]}),
        )
        .await?;
        let key = self.create("/admin/keys", json!({"name": "k"})).await?;
        Ok(key["key"].as_str().unwrap_or_default().to_owned())
    }

    async fn create(&self, path: &str, body: Value) -> Result<Value> {
        let request = request("POST", path, ADMIN_KEY, &body.to_string());
        let answer = Connection::to(self.address).send(&request).await?;
        ensure(answer.status == 201, || {
            format!("POST {path}: {}", answer.status)
        })?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Memory in use, in KiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.ok_or_else(|| "no VmRSS".into())
    }

    /// Open files.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).map_or(0, Iterator::count)
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .await?;
        ensure(sent.success(), || {
            "the gateway has gone before it was asked to".to_owned()
        })?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        ensure(ended.success(), || {
            format!("the gateway ended with {ended}")
        })
    }
}

fn address_in(log: &Path) -> Result<Option<SocketAddr>> {
    let log = fs::read_to_string(log)?;
    let after = log
        .split_once("application] listening on ")
        .map(|(_, after)| after);
    let line = after.and_then(|after| after.split_once('\n'));
    Ok(line.and_then(|(line, _)| line.parse().ok()))
}
