//! Feeds the manifest reader any text.
#![no_main]

mod check;

libfuzzer_sys::fuzz_target!(|text: &str| check::check(text));
