//! A run of the handler whose response may be stored, counted when its body ends.

use std::{sync::Arc, time::Duration};

use super::{
    fill_result::{FillResult, Trigger},
    route_table::RouteId,
    statistics::Statistics,
};
use crate::http::cache_status::Reason;

/// One run of the handler, from its start to the end of its body. A run that is dropped after its response has arrived counts as
/// [`Incomplete`](Reason::Incomplete); one without a response is not counted.
#[derive(Debug)]
pub(crate) struct Fill {
    statistics: Arc<Statistics>,
    route: RouteId,
    trigger: Trigger,
    /// How long the handler took, from its response on.
    handler_time: Option<Duration>,
    /// Whether a stored response has been validated.
    validated: bool,
}

impl Fill {
    pub(crate) fn begin(statistics: Arc<Statistics>, route: RouteId, trigger: Trigger) -> Self {
        statistics.fetch_began();
        Self { statistics, route, trigger, handler_time: None, validated: false }
    }

    pub(crate) fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// Records that the head of the response has arrived.
    pub(crate) fn answered(&mut self, handler_time: Duration) {
        self.handler_time = Some(handler_time);
    }

    /// Records that the response was a 304 for the stored one.
    pub(crate) fn validated(&mut self) {
        self.validated = true;
    }

    pub(crate) fn end(mut self, outcome: Result<(), Reason>) {
        let result = match outcome {
            Ok(()) if self.validated => FillResult::Revalidated,
            Ok(()) => FillResult::Stored,
            Err(reason) => FillResult::NotStored(reason),
        };
        let handler_time = self.handler_time.take();
        self.statistics.fetched(self.route, self.trigger, result, handler_time);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if let Some(handler_time) = self.handler_time.take() {
            let result = FillResult::NotStored(Reason::Incomplete);
            self.statistics.fetched(self.route, self.trigger, result, Some(handler_time));
        }
        self.statistics.fetch_ended();
    }
}
