//! A stored value of the application, such as the result of a query.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use super::response::StaleWindows;
use crate::clock::Timestamp;

/// A value and its lifetime.
#[derive(Debug, Clone)]
pub(crate) struct StoredValue {
    pub(crate) data: Arc<ValueData>,
    /// When its computation ended.
    pub(crate) generated: Timestamp,
    pub(crate) fresh_until: Timestamp,
    pub(crate) stale: StaleWindows,
    /// How long its computation took, in milliseconds.
    pub(crate) compute_millis: u32,
}

/// A value of some type: as Rust has it, as bytes, or both.
pub(crate) struct ValueData {
    /// The name of the type, by which another type under the same key is recognized.
    type_name: Cow<'static, str>,
    source: Source,
    /// Present from the start if this process computed it, and from its first use if it was decoded.
    value: OnceLock<AnyValue>,
}

/// A value of a type that only its reader knows.
pub(crate) type AnyValue = Box<dyn Any + Send + Sync>;

/// Encodes a value; `None` if it cannot be encoded, or is of another type.
pub(crate) type EncodeValue = fn(&(dyn Any + Send + Sync)) -> Option<Vec<u8>>;

/// Decodes a value; `None` if the bytes are no value of the type.
pub(crate) type DecodeValue<T> = fn(&[u8]) -> Option<T>;

/// Where a value comes from.
enum Source {
    /// This process computed it. It cannot leave the process if there is no `encode`.
    Computed { encode: Option<EncodeValue>, weigh: WeighValue },
    /// It was decoded from an entry, and is decoded into its type when it is first used.
    Encoded(Bytes),
}

/// How the size of a value in memory is estimated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WeighValue {
    /// In bytes.
    As(usize),
    /// `None` if the value cannot be measured.
    #[cfg_attr(not(feature = "values"), allow(dead_code, reason = "only values that can be encoded are measured"))]
    By(fn(&(dyn Any + Send + Sync)) -> Option<usize>),
}

impl ValueData {
    /// Creates the data of a value that this process has computed.
    pub(crate) fn computed<T: Send + Sync + 'static>(value: T, encode: Option<EncodeValue>, weigh: WeighValue) -> Arc<Self> {
        let value = OnceLock::from(Box::new(value) as AnyValue);
        Arc::new(Self { type_name: std::any::type_name::<T>().into(), source: Source::Computed { encode, weigh }, value })
    }

    /// Creates the data of a value that was read from a store.
    pub(crate) fn encoded(type_name: &str, bytes: Bytes) -> Arc<Self> {
        Arc::new(Self { type_name: type_name.to_owned().into(), source: Source::Encoded(bytes), value: OnceLock::new() })
    }

    /// Returns the value if it is of this type; it is decoded once.
    #[inline]
    pub(crate) fn get<T: Send + Sync + 'static>(&self, decode: Option<DecodeValue<T>>) -> Option<&T> {
        match self.value.get() {
            Some(value) => value.downcast_ref(),
            None => self.decoded(decode?),
        }
    }

    #[inline(never)]
    fn decoded<T: Send + Sync + 'static>(&self, decode: DecodeValue<T>) -> Option<&T> {
        let Source::Encoded(bytes) = &self.source else { return None };
        if self.type_name != std::any::type_name::<T>() {
            return None;
        }
        let value = Box::new(decode(bytes)?);
        self.value.get_or_init(|| value).downcast_ref()
    }

    pub(crate) fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Returns the value as bytes; `None` if it cannot leave this process.
    pub(crate) fn to_bytes(&self) -> Option<Bytes> {
        match &self.source {
            Source::Encoded(bytes) => Some(bytes.clone()),
            Source::Computed { encode, .. } => encode.as_ref()?(&**self.value.get()?).map(Bytes::from),
        }
    }

    /// Returns the approximate size in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let value = match &self.source {
            // The value may be decoded beside the bytes.
            Source::Encoded(bytes) => 3 * bytes.len() + self.type_name.len(),
            Source::Computed { weigh: WeighValue::As(bytes), .. } => *bytes,
            // One that cannot be measured cannot be encoded either: no store keeps it.
            Source::Computed { weigh: WeighValue::By(measure), .. } => {
                self.value.get().and_then(|value| measure(&**value)).unwrap_or(u32::MAX as usize)
            }
        };
        size_of::<Self>() + value
    }
}

impl StoredValue {
    pub(crate) fn weight(&self) -> usize {
        self.data.weight()
    }

    /// Returns the age in whole seconds.
    pub(crate) fn age(&self, now: Timestamp) -> u64 {
        now.seconds_since(self.generated)
    }
}

impl fmt::Debug for ValueData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueData").field("type_name", &self.type_name).finish_non_exhaustive()
    }
}
