//! The functions of the application that compute values.

use std::future::Future;

/// A function that computes a value, and may continue without its caller: the bounds of all such functions, written once.
pub(super) trait Computation<T, E>: Send + 'static {
    type Running: Future<Output = Result<T, E>> + Send + 'static;

    fn run(self) -> Self::Running;
}

impl<T, E, C, F> Computation<T, E> for C
where
    C: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    type Running = F;

    fn run(self) -> F {
        self()
    }
}
