//! Metrics and logs: handles that modules count with, and the text exposition.
