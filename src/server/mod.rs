//! Wiring and shutdown of the running server.
