//! The run of a warm-up: it sends requests, as many at once as the pace allows.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, StatusCode};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, Sleep, sleep},
};

use super::{
    builder::Warm,
    pace::Pace,
    report::{WarmEnd, WarmReport},
    requests::Unsendable,
};
use crate::{
    cache::jobs::{Job, JobStop},
    fetch::refresh::{Refresh, RefreshOutcome},
};

/// A request that has ended.
struct Sent {
    result: Result<(StatusCode, RefreshOutcome), String>,
    took: Duration,
}

/// What happens next in a run.
enum Event {
    Next(Option<Result<Box<Request<String>>, Unsendable>>),
    Sent(Result<(Id, Sent), JoinError>),
    Rested,
    Stopped(JobStop),
    /// Nothing runs, and nothing more is to be sent.
    Idle,
}

/// A warm-up under way.
struct Run {
    warm: Warm,
    report: WarmReport,
    pace: Pace,
    running: JoinSet<Sent>,
    /// The URIs of the requests that run.
    uris: HashMap<Id, String>,
    /// Pauses after requests. They take the place of a request.
    resting: Vec<Pin<Box<Sleep>>>,
    sent: u64,
    /// Why no further requests are sent.
    end: Option<WarmEnd>,
}

/// Runs a warm-up to its end. If the future is dropped, requests under way go on like those whose clients have left.
pub(super) async fn run(warm: Warm, job: &Job) -> WarmReport {
    let pace = Pace::new(warm.concurrency, warm.budget);
    let total = warm.requests.count().map(|count| count.min(warm.limit));
    let report = WarmReport::new(total, warm.concurrency);
    let (running, uris, resting) = (JoinSet::new(), HashMap::new(), Vec::new());
    let mut run = Run { warm, report, pace, running, uris, resting, sent: 0, end: None };
    let mut stopped = pin!(job.stopped());
    if run.warm.cache.inner.work.is_draining() {
        return run.report.ended(WarmEnd::Drained);
    }
    job.change(|state| state.progress = *run.report.progress());
    loop {
        match poll_fn(|cx| run.poll_event(cx, stopped.as_mut())).await {
            Event::Stopped(why) => {
                run.running.abort_all();
                let end = if why == JobStop::Cancel { WarmEnd::Cancelled } else { WarmEnd::Drained };
                return run.report.ended(end);
            }
            Event::Idle => return run.report.ended(run.end.unwrap_or_default()),
            Event::Rested => continue,
            Event::Next(None) => run.end = Some(WarmEnd::Complete),
            Event::Next(Some(_)) if run.sent >= run.warm.limit => run.end = Some(WarmEnd::Limit),
            Event::Next(Some(Ok(request))) => {
                run.send(*request);
                continue;
            }
            Event::Next(Some(Err(Unsendable { uri, problem }))) => {
                run.sent += 1;
                run.report.fail(uri, problem);
            }
            Event::Sent(sent) => run.note(sent),
        }
        run.check();
        job.change(|state| state.progress = *run.report.progress());
        run.warm.on_progress.iter().for_each(|listener| listener(run.report.progress()));
    }
}

impl Run {
    fn poll_event(&mut self, cx: &mut Context<'_>, stopped: Pin<&mut impl Future<Output = JobStop>>) -> Poll<Event> {
        if let Poll::Ready(why) = stopped.poll(cx) {
            return Poll::Ready(Event::Stopped(why));
        }
        if let Poll::Ready(Some(sent)) = self.running.poll_join_next_with_id(cx) {
            return Poll::Ready(Event::Sent(sent));
        }
        let before = self.resting.len();
        self.resting.retain_mut(|sleep| sleep.as_mut().poll(cx).is_pending());
        if self.resting.len() < before {
            return Poll::Ready(Event::Rested);
        }
        if self.end.is_some() {
            return if self.running.is_empty() { Poll::Ready(Event::Idle) } else { Poll::Pending };
        }
        if self.running.len() + self.resting.len() >= self.pace.concurrency() {
            return Poll::Pending;
        }
        self.warm.requests.poll_next(cx).map(Event::Next)
    }

    fn send(&mut self, request: Request<String>) {
        self.sent += 1;
        let uri = request.uri().to_string();
        let refresh = Refresh::new(&self.warm.cache, self.warm.purpose, self.warm.revision.clone());
        let sending = (self.warm.send)(request, refresh);
        let task = self.running.spawn(async move {
            let began = Instant::now();
            let result = sending.await;
            Sent { result, took: began.elapsed() }
        });
        self.uris.insert(task.id(), uri);
    }

    fn note(&mut self, sent: Result<(Id, Sent), JoinError>) {
        let id = sent.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let uri = self.uris.remove(&id).unwrap_or_default();
        let (result, took) = match sent {
            Ok((_, Sent { result, took })) => (result, took),
            Err(error) if error.is_panic() => return self.report.fail(uri, "the handler panicked".to_owned()),
            Err(error) => return self.report.fail(uri, error.to_string()),
        };
        match result {
            Err(problem) => self.report.fail(uri, problem),
            Ok((status, outcome)) => {
                if let Some((route, time)) = outcome.run {
                    self.pace.note(route, time);
                    let pause = self.pace.pause(took);
                    if !pause.is_zero() && self.end.is_none() && !self.warm.requests.are_exhausted() {
                        self.resting.push(Box::pin(sleep(pause)));
                    }
                }
                self.report.note(uri, status, outcome);
            }
        }
        self.report.set_concurrency(self.pace.concurrency());
    }

    /// Sends nothing more if too much has gone wrong.
    fn check(&mut self) {
        if self.report.failed() >= self.warm.most_failures {
            self.end = Some(WarmEnd::Failures);
        } else if self.pace.is_hopeless() {
            self.end = Some(WarmEnd::SlowHandlers);
        }
    }
}
