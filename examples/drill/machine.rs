//! How busy the machine was: without that, a time says little. Linux tells.

use std::fs;

use crate::report::Report;

/// Processor time since the start of the machine, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    all: u64,
    idle: u64,
    /// Had by other machines of the same host.
    stolen: u64,
}

impl Machine {
    pub(crate) fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in the first two.
        let ticks = line.split_whitespace().take(8).map(str::parse);
        let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().ok()?;
        Some(Self {
            all: ticks.iter().sum(),
            idle: ticks.get(3)? + ticks.get(4)?,
            stolen: *ticks.get(7)?,
        })
    }

    /// Prints what became of the processors' time since `self`.
    pub(crate) fn show_since(self, report: &Report) {
        let Some(now) = Self::now() else { return };
        let share = |later: u64, earlier: u64| {
            let all = now.all.saturating_sub(self.all).max(1);
            format!(
                "{:.0} %",
                later.saturating_sub(earlier) as f64 * 100.0 / all as f64
            )
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        report.title("The machine meanwhile");
        report.row("processors", cores);
        report.row("  idle", share(now.idle, self.idle));
        report.row("  stolen by its host", share(now.stolen, self.stolen));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: Vec<_> = load.split_whitespace().take(3).collect();
        report.row("load over 1, 5 and 15 minutes, at the end", load.join(", "));
    }
}
