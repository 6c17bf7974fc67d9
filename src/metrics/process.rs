//! What the process takes of the machine, under the names that every program's have
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use std::fmt;

use procfs::{
    ProcResult, WithCurrentSystemInfo as _,
    process::{LimitValue, Process as Myself},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Reads `/proc` at each scrape.
#[derive(Debug)]
pub(super) struct Process;

struct Usage {
    started: f64,
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: i64,
    open_descriptors: i64,
    most_descriptors: u64,
}

impl Usage {
    fn now() -> ProcResult<Self> {
        let myself = Myself::myself()?;
        let stat = myself.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let booted = procfs::boot_time_secs()? as f64;
        let most_descriptors = match myself.limits()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => limit,
            LimitValue::Unlimited => u64::MAX,
        };
        Ok(Self {
            started: booted + stat.starttime as f64 / ticks,
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            threads: stat.num_threads,
            open_descriptors: myself.fd_count()? as i64,
            most_descriptors,
        })
    }
}

impl Collector for Process {
    /// A `/proc` that can't be read leaves these out and nothing else.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(usage) = Usage::now() else {
            return Ok(());
        };
        let mut write = |name: &str, help, unit: Option<&Unit>, value: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, unit, value.metric_type())?;
            value.encode(encoder)
        };
        let (seconds, bytes) = (&Unit::Seconds, &Unit::Bytes);
        write(
            "process_start_time",
            "When the process started, since 1970.",
            Some(seconds),
            &ConstGauge::new(usage.started),
        )?;
        write(
            "process_cpu",
            "Time on processors, in user space and in the kernel.",
            Some(seconds),
            &ConstCounter::new(usage.cpu_seconds),
        )?;
        write(
            "process_resident_memory",
            "Memory that is in use.",
            Some(bytes),
            &ConstGauge::new(usage.resident_bytes as f64),
        )?;
        write(
            "process_virtual_memory",
            "Address space that is taken.",
            Some(bytes),
            &ConstGauge::new(usage.virtual_bytes as f64),
        )?;
        write(
            "process_threads",
            "Threads.",
            None,
            &ConstGauge::new(usage.threads),
        )?;
        write(
            "process_open_fds",
            "File descriptors that are open.",
            None,
            &ConstGauge::new(usage.open_descriptors),
        )?;
        write(
            "process_max_fds",
            "File descriptors that may be open.",
            None,
            &ConstGauge::new(usage.most_descriptors as f64),
        )
    }
}
