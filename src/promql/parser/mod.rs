//! From the text of a query to its syntax tree, and back.

pub mod ast;
pub mod functions;
