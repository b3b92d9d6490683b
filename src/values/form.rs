//! How values of one type are kept.

use std::fmt;

use crate::entry::value::{DecodeValue, EncodeValue, WeighValue};

/// How values of the type `T` are kept: always as they are, and as bytes if they may leave the process.
pub(super) struct Form<T> {
    pub(super) encode: Option<EncodeValue>,
    pub(super) decode: Option<DecodeValue<T>>,
    pub(super) weigh: WeighValue,
}

impl<T> Form<T> {
    /// Values that stay in the memory of this process.
    pub(super) fn in_memory(weight: Option<usize>) -> Self {
        Self { encode: None, decode: None, weigh: WeighValue::As(weight.unwrap_or(size_of::<T>())) }
    }
}

impl<T> Clone for Form<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Form<T> {}

impl<T> fmt::Debug for Form<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("weigh", &self.weigh).finish_non_exhaustive()
    }
}
