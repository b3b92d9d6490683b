//! What the files under the model checker synchronise with; it puts its own in place.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};
#[cfg(feature = "memory")]
pub(crate) use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicU64};
