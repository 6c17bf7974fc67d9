//! What asks the process to stop: SIGTERM or SIGINT.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A supervisor, by SIGTERM: a rollout or a restart, with other replicas and a balancer about.
    BySupervisor,
    /// A person, by Ctrl-C.
    AtTerminal,
}

/// The signals, heard from the moment this value exists. One that comes while nobody waits is
/// remembered.
#[derive(Debug)]
pub struct StopSignal {
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(unix)]
    interrupt: Signal,
}

#[cfg(unix)]
impl StopSignal {
    /// Starts to listen. Needs a runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn received(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::BySupervisor,
            _ = self.interrupt.recv() => Asked::AtTerminal,
        }
    }
}

#[cfg(not(unix))]
impl StopSignal {
    /// Starts to listen. Needs a runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one.
    pub async fn received(&mut self) -> Asked {
        let _ = tokio::signal::ctrl_c().await;
        Asked::AtTerminal
    }
}
