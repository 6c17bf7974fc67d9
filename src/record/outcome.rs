//! How exchanges end.

use actix_web::Error;

use crate::error::{GatewayError, Refusal};

/// How an exchange ended. `docs/OBSERVABILITY.md` explains them to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The whole answer was passed on, whatever its status.
    Complete,
    /// The gateway answered with an error of its own, which is the caller's to mend, or because a
    /// limit was reached.
    Refused,
    /// The gateway could not do its part.
    Failed,
    /// The provider gave no usable answer.
    UpstreamError,
    /// The provider's answer broke off.
    UpstreamCut,
    /// The provider was silent for too long.
    Timeout,
    /// The client left before the end.
    ClientGone,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamCut => "upstream_cut",
            Self::Timeout => "timeout",
            Self::ClientGone => "client_gone",
        }
    }

    /// The outcome of a request that is answered with this error.
    pub(super) fn of(error: &GatewayError) -> Self {
        match error {
            GatewayError::UpstreamUnreachable { .. }
            | GatewayError::UpstreamAddressRefused { .. }
            | GatewayError::UpstreamInvalidResponse { .. }
            | GatewayError::UpstreamRefused { .. } => Self::UpstreamError,
            GatewayError::UpstreamTimeout { .. } => Self::Timeout,
            GatewayError::Unavailable { .. } | GatewayError::Internal => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// The gateway's own error behind a response.
pub(super) fn own_error(error: &Error) -> Option<&GatewayError> {
    let refusal = error.as_error::<Refusal>().map(Refusal::error);
    refusal.or_else(|| error.as_error())
}
