//! TODO folder

#[cfg(all(test, feature = "axum", feature = "memory"))]
pub(crate) mod hostile_input;
