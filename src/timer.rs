//! Whether tokio's timer is on, and time limits that are without effect where it is off.
//!
//! A runtime that is built without `enable_time` panics as soon as a timer is made. larder must not end an application's request by that. What
//! waits for others needs a limit, so it does not wait there; what has to go on, such as a write without its client, goes on without a limit.

use std::{
    cell::Cell,
    future::Future,
    panic::catch_unwind,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    runtime::{Handle, Id},
    time::{self, Instant, Timeout, error::Elapsed},
};

use crate::error::Error;

thread_local! {
    /// The runtime that this thread looked at last, and whether its timer is on.
    static LAST: Cell<Option<(Id, bool)>> = const { Cell::new(None) };
}

/// Returns whether this is called in a runtime of tokio whose timer is on.
pub(crate) fn is_on() -> bool {
    let Ok(runtime) = Handle::try_current() else { return false };
    let id = runtime.id();
    match LAST.get() {
        Some((last, is_on)) if last == id => is_on,
        _ => {
            let is_on = look_at(id);
            LAST.set(Some((id, is_on)));
            is_on
        }
    }
}

/// Makes a timer to see whether that panics: there is no other way to ask. A panic is reported as usual by the panic hook, and once for each runtime.
#[cold]
fn look_at(runtime: Id) -> bool {
    static OFF: Mutex<Vec<Id>> = Mutex::new(Vec::new());
    // Held meanwhile, so that one thread of a runtime looks.
    let mut off = OFF.lock().unwrap_or_else(PoisonError::into_inner);
    if off.contains(&runtime) {
        return false;
    }
    let is_on = catch_unwind(|| drop(time::sleep(Duration::ZERO))).is_ok();
    if !is_on {
        off.push(runtime);
        tracing::warn!(
            "tokio's timer is off in this runtime (the panic above is caught): concurrent requests run the handler each, nothing is refreshed \
             in the background, and writes have no time limit. Build the runtime with `enable_all` or `enable_time`. Logged once a runtime."
        );
    }
    is_on
}

/// Returns an error where the timer is off: a store over the network cannot do without.
#[allow(dead_code, reason = "only remote stores need it")]
pub(crate) fn check() -> Result<(), Error> {
    match is_on() {
        true => Ok(()),
        false => Err(Error::invalid_input(
            "a store over the network needs a runtime of tokio with a timer: build it with `enable_all`, or with `enable_io` and `enable_time`",
        )),
    }
}

/// Limits the time of a future, where the timer is on.
pub(crate) fn timeout<F: Future>(limit: Duration, future: F) -> Limited<F> {
    match is_on() {
        true => Limited::Timed { timeout: time::timeout(limit, future) },
        false => Limited::Unlimited { future },
    }
}

/// Limits the time of a future, where the timer is on.
pub(crate) fn timeout_at<F: Future>(deadline: Instant, future: F) -> Limited<F> {
    match is_on() {
        true => Limited::Timed { timeout: time::timeout_at(deadline, future) },
        false => Limited::Unlimited { future },
    }
}

pin_project! {
    /// A future with a time limit, if there can be one.
    #[project = Projected]
    pub(crate) enum Limited<F> {
        Timed { #[pin] timeout: Timeout<F> },
        Unlimited { #[pin] future: F },
    }
}

impl<F: Future> Future for Limited<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Timed { timeout } => timeout.poll(cx),
            Projected::Unlimited { future } => future.poll(cx).map(Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn timer_is_looked_for_in_each_runtime() {
        let with = Builder::new_current_thread().enable_time().build().unwrap();
        let without = Builder::new_current_thread().build().unwrap();
        for _ in 0..2 {
            assert!(!is_on(), "outside of a runtime");
            assert!(with.block_on(async { is_on() }));
            assert!(!without.block_on(async { is_on() }));
        }
        let limited = || timeout(Duration::ZERO, std::future::pending::<()>());
        assert!(with.block_on(async { limited().await }).is_err());
        assert!(without.block_on(async { timeout(Duration::ZERO, async { 1 }).await }).is_ok());
    }
}
