//! Shared parts of the bench suites.
