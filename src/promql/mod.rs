//! PromQL: its grammar, and its evaluation over anything that implements [`storage`](crate::storage).

pub mod annotations;
pub mod engine;
pub mod functions;
pub mod parser;
pub mod script;
pub mod testing;
pub mod value;
