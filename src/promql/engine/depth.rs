//! Room on the stack for expressions that are nested deeply.
//!
//! Evaluation is recursive: each level of the tree takes some stack. The parser bounds the levels, but that many do not
//! fit the stack of a server's worker thread, and a stack that overflows takes the whole process down. So expressions
//! that are deeper than any that a person writes are evaluated on a thread of their own, with stack for every level.

use super::QueryError;
use crate::promql::parser::ast::{Expr, ExprKind};

/// Levels that are evaluated on the caller's own stack.
const LEVELS_INLINE: usize = 32;

/// Stack for each level; several times what evaluation takes in a build without optimisation.
const STACK_BYTES_PER_LEVEL: usize = 32 * 1024;

/// Stack for everything else.
const STACK_BYTES_BASE: usize = 2 * 1024 * 1024;

/// How many levels an expression has.
fn levels(expr: &Expr) -> usize {
    1 + match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::VectorSelector(_) | ExprKind::MatrixSelector(_) => 0,
        ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => levels(inner),
        ExprKind::Binary(binary) => levels(&binary.left).max(levels(&binary.right)),
        ExprKind::Aggregate(aggregate) => levels(&aggregate.expr).max(aggregate.param.as_ref().map_or(0, levels)),
        ExprKind::Call(call) => call.args.iter().map(levels).max().unwrap_or(0),
        ExprKind::Subquery(subquery) => levels(&subquery.expr),
    }
}

/// Calls `work`, which recurses over `expr`, with enough stack for it.
pub(super) fn with_stack_for<T: Send>(
    expr: &Expr,
    work: impl FnOnce() -> Result<T, QueryError> + Send,
) -> Result<T, QueryError> {
    let levels = levels(expr);
    if levels <= LEVELS_INLINE {
        return work();
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("deep query".to_owned());
        let stack_bytes = STACK_BYTES_BASE + levels * STACK_BYTES_PER_LEVEL;
        let thread = builder.stack_size(stack_bytes).spawn_scoped(scope, work).map_err(|error| {
            QueryError::Execution(format!("no thread for an expression of {levels} levels: {error}"))
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
