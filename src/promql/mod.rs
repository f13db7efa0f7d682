//! PromQL: its grammar, and its evaluation over anything that implements [`storage`](crate::storage).

pub mod parser;
pub mod value;
