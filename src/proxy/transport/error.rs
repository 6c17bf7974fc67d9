//! What went wrong on a connection to a provider, and how far things had come.

use std::{fmt, io};

use awc::error::{ConnectError, SendRequestError};

use super::reach::OutOfReach;

/// A failed connection. It travels as the inside of an [`io::Error`] through awc, and
/// [`TransportError::of`] finds it again.
#[derive(Debug)]
pub struct TransportError {
    failure: Failure,
    reused: bool,
    request_bytes: u64,
    response_bytes: u64,
    source: Option<io::Error>,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about.
    Connect(ConnectFailure),
    /// The connection ended before the head of a response was complete.
    ClosedBeforeResponse,
    /// The connection ended after the head of a response, before the end of its body.
    CutMidResponse,
    /// What came is not a response that can be relayed safely; the text says why.
    BadResponse(&'static str),
    /// The request is none that this transport carries, or not what it declared; the text says why.
    BadRequest(&'static str),
}

/// The step at which connecting failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The host name has no address.
    Dns,
    /// No address accepted a TCP connection.
    Tcp,
    /// The TLS handshake failed.
    Tls,
    /// The time for all of it ran out.
    Timeout,
    /// Its addresses are none that are connected to.
    OutOfReach(OutOfReach),
}

impl TransportError {
    pub(super) fn new(failure: Failure, source: Option<io::Error>) -> Self {
        Self {
            failure,
            reused: false,
            request_bytes: 0,
            response_bytes: 0,
            source,
        }
    }

    pub(super) fn on_connection(mut self, reused: bool, sent: u64, received: u64) -> Self {
        self.reused = reused;
        self.request_bytes = sent;
        self.response_bytes = received;
        self
    }

    /// The transport's error inside an error of sending, if that is where it began.
    pub fn of(error: &SendRequestError) -> Option<&Self> {
        match error {
            SendRequestError::Send(io) | SendRequestError::Connect(ConnectError::Io(io)) => {
                io.get_ref()?.downcast_ref()
            }
            _ => None,
        }
    }

    /// What happened.
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// How many bytes of this request were handed to the connection that failed.
    pub fn request_bytes(&self) -> u64 {
        self.request_bytes
    }

    /// How many bytes of an answer came, interim answers included.
    pub fn response_bytes(&self) -> u64 {
        self.response_bytes
    }

    /// Whether a kept-alive connection died before one byte of an answer: the one case in which a
    /// request may be sent again.
    pub fn is_stale(&self) -> bool {
        self.reused
            && self.response_bytes == 0
            && matches!(self.failure, Failure::ClosedBeforeResponse)
    }

    /// Whether a kept-alive connection was found dead before one byte of the request was sent.
    pub fn is_unsent(&self) -> bool {
        self.is_stale() && self.request_bytes == 0
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure {
            Failure::Connect(ConnectFailure::Dns) => f.write_str("host name not resolved")?,
            Failure::Connect(ConnectFailure::Tcp) => f.write_str("no TCP connection")?,
            Failure::Connect(ConnectFailure::Tls) => f.write_str("TLS handshake failed")?,
            Failure::Connect(ConnectFailure::Timeout) => f.write_str("connecting timed out")?,
            Failure::Connect(ConnectFailure::OutOfReach(_)) => {
                f.write_str("its address is not connected to")?;
            }
            Failure::ClosedBeforeResponse if self.is_unsent() => {
                f.write_str("kept-alive connection was dead before the request")?;
            }
            Failure::ClosedBeforeResponse => f.write_str("closed before a response")?,
            Failure::CutMidResponse => f.write_str("cut off in the middle of a response")?,
            Failure::BadResponse(reason) => write!(f, "unusable response: {reason}")?,
            Failure::BadRequest(reason) => write!(f, "unusable request: {reason}")?,
        }
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl From<TransportError> for io::Error {
    fn from(error: TransportError) -> Self {
        let kind = match error.failure {
            Failure::Connect(ConnectFailure::Timeout) => io::ErrorKind::TimedOut,
            Failure::Connect(_) => io::ErrorKind::NotConnected,
            Failure::ClosedBeforeResponse | Failure::CutMidResponse => io::ErrorKind::UnexpectedEof,
            Failure::BadResponse(_) => io::ErrorKind::InvalidData,
            Failure::BadRequest(_) => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}
