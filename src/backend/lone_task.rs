//! A background task that runs at most once at a time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::runtime::Handle;

/// Runs at most one background task at a time. After the task, or the runtime that it ran in, has ended, another one can be started.
#[derive(Debug, Default)]
pub(crate) struct LoneTask(Arc<AtomicBool>);

/// Marks the task as running until it is dropped at the end of the task.
#[derive(Debug)]
pub(crate) struct Running(Arc<AtomicBool>);

impl LoneTask {
    /// Starts the task that `make` returns, unless one is running. Does nothing outside of a runtime.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(&self, make: impl FnOnce(Running) -> F) {
        // Usually a task is running, and there is nothing to write.
        if self.0.load(Ordering::Acquire) {
            return;
        }
        if let Ok(runtime) = Handle::try_current()
            && !self.0.swap(true, Ordering::AcqRel)
        {
            runtime.spawn(make(Running(Arc::clone(&self.0))));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::mpsc};

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn one_task_runs_at_a_time_and_another_starts_after_its_runtime_has_ended() {
        let (task, (started, starts)) = (LoneTask::default(), mpsc::channel());
        let start = || {
            let started = started.clone();
            task.start(|running| async move {
                started.send(()).unwrap();
                pending::<()>().await;
                drop(running);
            });
        };
        start();
        for _ in 0..3 {
            runtime().block_on(async {
                start();
                start();
                tokio::task::yield_now().await;
            });
            assert_eq!(starts.try_iter().count(), 1);
        }
    }
}
