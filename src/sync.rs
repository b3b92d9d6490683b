//! The locks and atomics of the model-checked files; the models replace this module by their own.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};
#[cfg(feature = "memory")]
pub(crate) use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicU64};
