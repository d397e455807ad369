//! The store: one contract for every engine, and what only the embedded engine promises.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test is a panic")]

mod contract;
mod embedded;

use std::sync::Arc;

use jiff::Timestamp;
use reeve::base::clock::TestClock;
use reeve::store::{Entry, Event, Listing};

/// A clock that stands still at a fixed moment.
fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap()))
}

/// The keys of a listing.
fn keys(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| &*entry.key).collect()
}

/// An entry's value as text.
fn text(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.value).unwrap()
}

/// An event in one line: `key=value` or `-key`.
fn line(event: &Event) -> String {
    match event {
        Event::Put(entry) => format!("{}={}", entry.key, text(entry)),
        Event::Delete { key } => format!("-{key}"),
    }
}
