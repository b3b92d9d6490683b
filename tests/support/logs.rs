//! What larder logs.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, LazyLock, Mutex},
};

use tracing_core::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::{DefaultGuard, set_default},
    field::{Field, Visit},
    span,
    subscriber::NoSubscriber,
};

/// The lines that larder logs on this thread, at the level of information and above, with the causes of errors; without the trail of
/// invalidations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<String>>>);

impl Logs {
    /// Collects lines while the guard lives.
    pub(crate) fn collect() -> (Self, DefaultGuard) {
        let logs = Self::default();
        (logs.clone(), subscribe(logs))
    }

    /// Removes the lines so far.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Sends what is logged on this thread to `subscriber` while the guard lives.
pub(crate) fn subscribe(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    /// Subscribers that want nothing. While there is only one subscriber, tracing asks the one of the present thread about a new line of the
    /// program: a line that the thread of another test comes to first, without a subscriber, would be off for all.
    static OTHERS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::default())));
    LazyLock::force(&OTHERS);
    set_default(&Dispatch::new(subscriber))
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let target = event.metadata().target();
        if target.starts_with("larder") && target != "larder::invalidation" {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Debug, Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        write!(self.0, "{}=", field.name()).unwrap();
        for cause in std::iter::successors(Some(error), |error| error.source()) {
            write!(self.0, "{cause} ").unwrap();
        }
    }
}
