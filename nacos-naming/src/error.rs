//! What can be wrong with a request to service discovery, in Nacos' words. The HTTP and gRPC layers give it its form.

use http::StatusCode;
use nacos_core::{consistency::CpError, error::ErrorCode, key::ServiceKey, web::Fault};

/// Why something was not done. Nothing changed, unless it says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NamingError {
    /// A rule is broken: its HTTP status, its code in v2, its text.
    #[error("{text}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The code in v2.
        code: ErrorCode,
        /// The text.
        text: String,
    },
    /// What had to be written durably was not, or perhaps.
    #[error("{0}")]
    Cp(#[from] CpError),
}

impl NamingError {
    /// A refusal with HTTP status 400.
    pub fn bad(code: ErrorCode, text: impl Into<String>) -> Self {
        NamingError::Refused { status: StatusCode::BAD_REQUEST, code, text: text.into() }
    }

    /// A refusal with HTTP status 404.
    pub fn missing(text: impl Into<String>) -> Self {
        NamingError::Refused { status: StatusCode::NOT_FOUND, code: ErrorCode::ResourceNotFound, text: text.into() }
    }

    /// The service is of the other kind than the instance; `ephemeral` says what the instance is.
    pub(crate) fn other_kind(key: &ServiceKey, ephemeral: bool) -> Self {
        let (is, be) = if ephemeral { ("persistent", "ephemeral") } else { ("ephemeral", "persistent") };
        let text = format!("Current service {} is {is} service, can't register {be} instance.", key.grouped());
        // The form of Nacos' unchecked exceptions, with its blank at the end.
        Self::bad(ErrorCode::ServerError, format!("errCode: 400, errMsg: {text} "))
    }
}

impl From<NamingError> for Fault {
    fn from(error: NamingError) -> Self {
        match error {
            NamingError::Refused { status, code, text } => Fault::Coded(status, code, text),
            NamingError::Cp(error) => {
                // Callers are told what they can act on; the rest stays in the log.
                tracing::warn!(%error, "a write was not done");
                let (status, text) = match error {
                    CpError::Refused(text) => (StatusCode::BAD_REQUEST, text),
                    CpError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "Too many writes wait".to_owned()),
                    CpError::Unconfirmed(..) => (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "The write was not confirmed in time; it may have happened. Read before trying again"
                            .to_owned(),
                    ),
                    _ => (StatusCode::INTERNAL_SERVER_ERROR, "The write could not be stored".to_owned()),
                };
                Fault::Coded(status, ErrorCode::ServerError, format!("errCode: {}, errMsg: {text} ", status.as_u16()))
            }
        }
    }
}
