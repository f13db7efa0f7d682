//! What the API answers when it cannot do what was asked: Prometheus' error types and their status codes.

use hyper::StatusCode;

use crate::storage::StorageError;

/// Prometheus' error types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// The request is wrong.
    BadData,
    /// The query could not be evaluated.
    Execution,
    /// The client went away, or the server is stopping.
    Canceled,
    /// The query took too long.
    Timeout,
    /// A fault of the server.
    Internal,
    /// There is no such thing.
    NotFound,
    /// It cannot be done now.
    Unavailable,
    /// The same is under way already. Not one of Prometheus'.
    Conflict,
}

impl ErrorType {
    /// The type's name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::BadData => "bad_data",
            ErrorType::Execution => "execution",
            ErrorType::Canceled => "canceled",
            ErrorType::Timeout => "timeout",
            ErrorType::Internal => "internal",
            ErrorType::NotFound => "not_found",
            ErrorType::Unavailable => "unavailable",
            ErrorType::Conflict => "conflict",
        }
    }

    /// The status code that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            ErrorType::BadData => StatusCode::BAD_REQUEST,
            ErrorType::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // 499 is nginx's "client closed request", and what Prometheus uses.
            ErrorType::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            // Prometheus forgot a status for `unavailable`, and so answers 500; 503 is what it means.
            ErrorType::Timeout | ErrorType::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorType::NotFound => StatusCode::NOT_FOUND,
            ErrorType::Conflict => StatusCode::CONFLICT,
        }
    }
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its type.
    pub error_type: ErrorType,
    /// What the client is told.
    pub message: String,
}

impl ApiError {
    /// An error of this type.
    pub fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        ApiError { error_type, message: message.into() }
    }

    /// The request is wrong.
    pub fn bad_data(message: impl Into<String>) -> Self {
        ApiError::new(ErrorType::BadData, message)
    }

    /// A parameter of the request is wrong.
    pub fn parameter(name: &str, fault: impl std::fmt::Display) -> Self {
        ApiError::bad_data(format!("invalid parameter {name:?}: {fault}"))
    }

    /// A fault of the server. The details go to the log, not to the client.
    pub fn internal(context: &str, details: impl std::fmt::Display) -> Self {
        tracing::error!(%details, context, "request ended in an internal error");
        ApiError::new(ErrorType::Internal, format!("internal error: {context}"))
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Limit { .. } => ApiError::new(ErrorType::Execution, error.to_string()),
            other => ApiError::new(ErrorType::Execution, format!("storage: {other}")),
        }
    }
}
