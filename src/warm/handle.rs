//! A warm-up that has been started.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};

use super::{
    builder::Warm,
    report::{WarmEnd, WarmReport},
    run::run,
};
use crate::cache::{
    jobs::{Job, JobKind, JobStop, WarmProgress},
    limits::LONGEST,
};

/// A warm-up under way, made by [`Warm::start`]. Awaited, it returns the [`WarmReport`].
///
/// Dropped, it goes on; [`cancel`](Self::cancel) and [`Cache::drain`](crate::Cache::drain) end it.
#[derive(Debug)]
#[must_use = "await it for its report, or drop it explicitly: it goes on in the background"]
pub struct Warming {
    job: Arc<Job>,
    task: JoinHandle<WarmReport>,
    report: Option<WarmReport>,
}

impl Warm {
    /// Starts the warm-up in a task of its own. The report is logged as well, at the level `INFO`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Warming {
        let name = self.name.clone().unwrap_or_else(|| "warm-up".to_owned());
        let job = self.cache.inner.jobs.begin(JobKind::WarmUp, name, self.cache.now());
        let ending = EndOfJob(Arc::clone(&job));
        let task = tokio::spawn(async move {
            let report = run(self, &ending.0).await;
            tracing::info!(name = ending.0.name, end = report.end().as_str(), "a warm-up has ended: {report}");
            ending.0.change(|state| state.report = Some(report.to_string()));
            report
        });
        Warming { job, task, report: None }
    }
}

impl Warming {
    /// Ends the warm-up: it sends no further requests. Those under way go on in the background, like those whose clients have left.
    pub fn cancel(&self) {
        self.job.stop(JobStop::Cancel);
    }

    /// Returns how far it is.
    pub fn progress(&self) -> WarmProgress {
        self.job.state().progress
    }

    /// Waits until it has ended, at most for `limit`: call it before the application accepts connections, or reports that it is ready.
    /// Returns the report; `None` at the limit, in which case the warm-up goes on while the application serves.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use std::time::Duration;
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// # let app = axum::Router::new();
    /// let mut warming = cache.warm(app.clone()).host("example.com").paths(["/", "/posts"]).start();
    /// match warming.before_serving(Duration::from_secs(20)).await {
    ///     Some(report) => println!("{report}"),
    ///     None => println!("serving while the cache is being warmed: {:?}", warming.progress()),
    /// }
    /// // axum::serve(listener, app).await
    /// # }
    /// ```
    pub async fn before_serving(&mut self, limit: Duration) -> Option<WarmReport> {
        timeout(limit.min(LONGEST), self).await.ok()
    }
}

impl Future for Warming {
    type Output = WarmReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WarmReport> {
        if let Some(report) = &self.report {
            return Poll::Ready(report.clone());
        }
        // The task fails if a listener panics, or if the runtime ends.
        let ended = |_| WarmReport::default().ended(WarmEnd::Cancelled);
        Pin::new(&mut self.task).poll(cx).map(|report| {
            let report = report.unwrap_or_else(ended);
            self.report = Some(report.clone());
            report
        })
    }
}

/// Marks the job as ended, however its task ends.
#[derive(Debug)]
pub(super) struct EndOfJob(pub(super) Arc<Job>);

impl Drop for EndOfJob {
    fn drop(&mut self) {
        self.0.change(|state| state.has_ended = true);
    }
}
