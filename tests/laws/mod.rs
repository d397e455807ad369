//! The laws that every part has to keep, each as a property over all kinds.

mod costs;
mod data;
mod truncation;
