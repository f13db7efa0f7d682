//! The store as a whole: the head, its log, and the tasks that keep them.
