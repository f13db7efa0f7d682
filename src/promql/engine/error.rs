//! Why a query failed. The texts are those of Prometheus' `promql/engine.go`, since clients match on them.

use crate::promql::functions::FunctionError;
use crate::storage::StorageError;

/// Why a query failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The query took longer than it may.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Somebody ended the query.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The query holds more samples at a time than it may.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// The query needs more memory than it may have.
    #[error("query processing would use more than {limit} bytes of memory in query execution")]
    TooMuchMemory {
        /// The bound.
        limit: u64,
    },
    /// The query selects more series than it may.
    #[error("query selects more than {limit} series")]
    TooManySeries {
        /// The bound.
        limit: u64,
    },
    /// The expression does not fit the kind of query.
    #[error("{0}")]
    BadExpression(String),
    /// The data does not allow the operation, or an argument does not.
    #[error("{0}")]
    Execution(String),
    /// The samples could not be read.
    #[error("expanding series: {0}")]
    Storage(#[from] StorageError),
}

impl QueryError {
    /// Two series of one vector came to have the same labels.
    pub(super) fn same_labels() -> Self {
        QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
    }
}

impl From<FunctionError> for QueryError {
    fn from(error: FunctionError) -> Self {
        QueryError::Execution(error.0)
    }
}
