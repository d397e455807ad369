//! How large things may be: what a stock etcd can be set to hold too.

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 8 * 1024 * 1024;
/// The largest transaction, keys and values together, in bytes.
pub const MAX_TXN_BYTES: usize = 16 * 1024 * 1024;
/// The most operations, and the most checks, in one transaction (etcd's own default).
pub const MAX_TXN_OPS: usize = 128;
