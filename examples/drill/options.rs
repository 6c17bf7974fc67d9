//! The command line of the driver. `scripts/drill.sh` and `scripts/scale.sh` call it.

use std::{path::PathBuf, time::Duration};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Drill,
    Scale,
}

/// Where everything is, and how much of it to do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scenario: Scenario,
    /// Where the gateway and the mock provider were built.
    pub(crate) programs: PathBuf,
    /// For logs.
    pub(crate) folder: PathBuf,
    /// Kills, freezes and starts the servers.
    pub(crate) servers: PathBuf,
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
    /// Requests a second of allowed traffic, over all replicas.
    pub(crate) rate: f64,
    pub(crate) revocations: usize,
    pub(crate) route_changes: usize,
    pub(crate) unknown_keys: usize,
    pub(crate) unknown_rate: f64,
    /// How long each outage lasts.
    pub(crate) outage: Duration,
    /// How long traffic is watched before and after something happens.
    pub(crate) calm: Duration,
    pub(crate) keys: usize,
    pub(crate) routes: usize,
    /// For the change log to grow by; it keeps 100,000.
    pub(crate) changes: usize,
}

pub(crate) const HELP: &str = "\
Measures what the caches promise. Run it by scripts/drill.sh and scripts/scale.sh, which bring
the servers.

Usage: drill drill|scale --programs FOLDER --folder FOLDER --database-url URL --redis-url URL
                         [--servers SCRIPT] [FLAGS]

Flags of the drill:
  --rate N            requests a second of allowed traffic, over all replicas [500]
  --revocations N     keys to revoke and rotate [1000]
  --route-changes N   routes to change [200]
  --unknown-keys N    distinct unknown keys of each flood, and models of one [100000]
  --unknown-rate N    of these a second [3000]
  --outage SECONDS    how long each outage lasts [6]
  --calm SECONDS      how long traffic is watched before and after one [3]

Flags of the scale benchmark:
  --keys N            [1000000]
  --routes N          [10000]
  --changes N         for the change log to grow by; it keeps 100000 [110000]";

impl Options {
    /// `None` means that help was asked for.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let scenario = match args.next().as_deref() {
            Some("drill") => Scenario::Drill,
            Some("scale") => Scenario::Scale,
            None | Some("--help" | "-h") => return Ok(None),
            Some(other) => return Err(format!("'{other}' is neither drill nor scale")),
        };
        let mut options = Self::new(scenario);
        while let Some(flag) = args.next() {
            if flag == "--help" || flag == "-h" {
                return Ok(None);
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            options
                .set(&flag, value)
                .map_err(|problem| format!("{flag}: {problem}"))?;
        }
        Ok(Some(options))
    }

    fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            programs: PathBuf::new(),
            folder: PathBuf::new(),
            servers: PathBuf::new(),
            database_url: String::new(),
            redis_url: String::new(),
            rate: 500.0,
            revocations: 1_000,
            route_changes: 200,
            unknown_keys: 100_000,
            unknown_rate: 3_000.0,
            outage: Duration::from_secs(6),
            calm: Duration::from_secs(3),
            keys: 1_000_000,
            routes: 10_000,
            changes: 110_000,
        }
    }

    fn set(&mut self, flag: &str, value: String) -> Result<(), String> {
        match flag {
            "--programs" => self.programs = value.into(),
            "--folder" => self.folder = value.into(),
            "--servers" => self.servers = value.into(),
            "--database-url" => self.database_url = value,
            "--redis-url" => self.redis_url = value,
            "--rate" => self.rate = positive(&value)?,
            "--revocations" => self.revocations = count(&value)?,
            "--route-changes" => self.route_changes = count(&value)?,
            "--unknown-keys" => self.unknown_keys = count(&value)?,
            "--unknown-rate" => self.unknown_rate = positive(&value)?,
            "--outage" => self.outage = Duration::from_secs_f64(positive(&value)?),
            "--calm" => self.calm = Duration::from_secs_f64(positive(&value)?),
            "--keys" => self.keys = count(&value)?,
            "--routes" => self.routes = count(&value)?,
            "--changes" => self.changes = count(&value)?,
            _ => return Err("there is no such flag".to_owned()),
        }
        Ok(())
    }
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("'{text}' is not a positive number"))
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.1..1e6).contains(number));
    number.ok_or_else(|| format!("'{text}' is not a number from 0.1 to 1000000"))
}
