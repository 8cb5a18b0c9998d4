//! The code table of Nacos' v2 and v3 answers, and the chain printer for logs.

use std::{error::Error, fmt};

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// A code of Nacos' `Result` bodies (`api/model/v2/ErrorCode.java`, 2.4.3; those of quotas, 3.0.3).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("`", stringify!($code), "`: ", $text, ".")]
                $name,
            )*
        }

        impl ErrorCode {
            /// All codes, in ascending order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The number in the `code` member.
            pub fn code(self) -> i32 {
                match self { $(ErrorCode::$name => $code),* }
            }

            /// The general text in the `message` member.
            pub fn text(self) -> &'static str {
                match self { $(ErrorCode::$name => $text),* }
            }
        }
    };
}

codes! {
    Success = 0, "success";
    OverClusterQuota = 5031, "cluster capacity reach quota";
    OverGroupQuota = 5032, "group capacity reach quota";
    OverTenantQuota = 5033, "tenant capacity reach quota";
    OverMaxSize = 5034, "content size is over limit";
    ParameterMissing = 10000, "parameter missing";
    AccessDenied = 10001, "access denied";
    DataAccessError = 10002, "data access error";
    TenantParamError = 20001, "'tenant' parameter error";
    ParameterValidateError = 20002, "parameter validate error";
    MediaTypeError = 20003, "MediaType Error";
    ResourceNotFound = 20004, "resource not found";
    ResourceConflict = 20005, "resource conflict";
    ConfigListenerIsNull = 20006, "config listener is null";
    ConfigListenerError = 20007, "config listener error";
    InvalidDataId = 20008, "invalid dataId";
    ParameterMismatch = 20009, "parameter mismatch";
    ServiceNameError = 21000, "service name error";
    WeightError = 21001, "weight error";
    InstanceMetadataError = 21002, "instance metadata error";
    InstanceNotFound = 21003, "instance not found";
    InstanceError = 21004, "instance error";
    ServiceMetadataError = 21005, "service metadata error";
    SelectorError = 21006, "selector error";
    ServiceAlreadyExist = 21007, "service already exist";
    ServiceNotExist = 21008, "service not exist";
    ServiceDeleteFailure = 21009, "service delete failure";
    HealthyParamMiss = 21010, "healthy param miss";
    HealthCheckStillRunning = 21011, "health check still running";
    IllegalNamespace = 22000, "illegal namespace";
    NamespaceNotExist = 22001, "namespace not exist";
    NamespaceAlreadyExist = 22002, "namespace already exist";
    IllegalState = 23000, "illegal state";
    NodeInfoError = 23001, "node info error";
    NodeDownFailure = 23002, "node down failure";
    ServerError = 30000, "server error";
}

/// Prints an error and its causes on one line, for a log: `write config row: disk is full`.
pub struct Report<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_have_texts() {
        assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        assert!(ErrorCode::ALL.iter().all(|code| !code.text().is_empty()));
    }
}
