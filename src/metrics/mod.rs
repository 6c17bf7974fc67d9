//! What is counted, and `GET /metrics`, where Prometheus fetches it.
//!
//! Each part of the gateway that counts has a struct of its own with the handles that it counts
//! with, made at the start with `Metrics::register` and passed to it by name. Counting is atomic
//! additions; names, labels and text come up at a scrape alone. No label comes from a client.

mod endpoint;
mod exchanges;
#[cfg(target_os = "linux")]
mod process;
mod single_writer;
mod striped;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::{prometheus_text, text},
    metrics::info::Info,
    registry::Registry,
};

pub(crate) use self::{
    endpoint::{described, resource},
    exchanges::{Counting, ExchangeMetrics, Stream},
    striped::StripedCounter,
};

/// What every name begins with, but for those that are the same for all programs (`process_…`).
const PREFIX: &str = "llm_gateway";

/// Everything that is counted in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Registries>);

#[derive(Debug)]
struct Registries(Mutex<Registry>);

/// The text formats that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, for whoever doesn't ask for the other.
    Prometheus,
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Default for Metrics {
    /// What is known of every process.
    fn default() -> Self {
        let mut registry = Registry::default();
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(process::Process));
        let gateway = registry.sub_registry_with_prefix(PREFIX);
        gateway.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self(Arc::new(Registries(Mutex::new(registry))))
    }
}

impl Metrics {
    /// Adds what a part of the gateway counts. For the start alone: what is registered stays.
    pub(crate) fn register<T>(&self, part: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        part(registry.sub_registry_with_prefix(PREFIX))
    }

    /// All of it as text.
    ///
    /// # Errors
    /// A defect: something can't be written in this format.
    pub fn encode(&self, format: Format) -> Result<String, fmt::Error> {
        let registry = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
            Format::OpenMetrics => text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}
