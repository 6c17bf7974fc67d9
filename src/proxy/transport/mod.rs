//! How awc's requests get to their providers, and the answers back.
//!
//! awc's own connector and codec take a cut-off answer for a whole one, an interim answer for the
//! final one, an unframed answer for an empty one, and what an earlier request left behind for
//! its own answer; and each request through them starts a task with a timer, allocates 16 KiB of
//! buffers, and is copied into one. `Carrier` takes their place, as a middleware that answers by
//! itself: awc makes the request, and gets the head of its answer; the bytes in between go over a
//! `Line`, which judges every one of them and says how a connection failed. [`Content`] is the
//! rest of the answer, read as it comes.

mod answer;
mod carrier;
mod client;
mod connect;
mod error;
mod framing;
mod head;
mod line;
mod outgoing;
mod pool;
mod reach;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

pub use self::{
    client::{Client, Content, ProviderResponse},
    connect::{Observer, Request, Reuse, Scheme, for_request},
    error::{ConnectFailure, Failure, TransportError},
    reach::{OutOfReach, Reach},
    tls::{client_config, trusted_roots},
};
