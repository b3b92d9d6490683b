//! What it takes to test an application with a cache, or a cache with a failing store.

mod faulty;

pub use faulty::{Fault, Faulty, Operation};
