//! A simulated disk: it forgets what was not synced, tears pages, fails the n-th call, runs full.
