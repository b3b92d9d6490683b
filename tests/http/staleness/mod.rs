//! A stale response is served where a directive or the layer allows it, and for that long; an invalidated one never.
//!
//! Tokio's clock is paused: it advances only when no task is runnable, so that `settled` takes no time. The
//! cache has a clock of its own.

mod expired;
mod invalidated;
mod on_error;
mod refresh;
mod refresh_ahead;
mod refused;
mod slow;
mod while_revalidating;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    handler::Handler,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use larder::CacheLayer;

use crate::support::{Gate, Runs, fields};

const SECOND: Duration = Duration::from_secs(1);

/// A handler that does what a test tells it to, run by run; its body says `run 1`, `run 2`, …
#[derive(Clone, Default)]
struct Script {
    runs: Runs,
    next: Arc<Mutex<Act>>,
}

/// What a handler does.
#[derive(Clone)]
enum Act {
    /// Answers at once, under these fields.
    Answer(StatusCode, &'static [(&'static str, &'static str)]),
    /// The same, when it has been let through.
    Wait(Gate, StatusCode, &'static [(&'static str, &'static str)]),
    Panic,
}

impl Default for Act {
    fn default() -> Self {
        Self::Answer(StatusCode::OK, &[])
    }
}

/// Who allows a stale response: its name, the fields of the response, and the settings of the route.
type Way = (&'static str, &'static [(&'static str, &'static str)], fn(CacheLayer) -> CacheLayer);

/// Answers with 200 and nothing else.
const PLAIN: Act = Act::Answer(StatusCode::OK, &[]);

fn status(status: StatusCode) -> Act {
    Act::Answer(status, &[])
}

fn with(lines: &'static [(&'static str, &'static str)]) -> Act {
    Act::Answer(StatusCode::OK, lines)
}

fn at(gate: &Gate) -> Act {
    Act::Wait(gate.clone(), StatusCode::OK, &[])
}

impl Script {
    /// From now on every run does this.
    fn set(&self, act: Act) {
        *self.next.lock().unwrap() = act;
    }

    fn runs(&self) -> usize {
        self.runs.count()
    }

    fn handler(&self) -> impl Handler<((),), ()> + use<> {
        let script = self.clone();
        move || async move { script.run().await }
    }

    async fn run(&self) -> Response {
        let run = self.runs.begin();
        let act = self.next.lock().unwrap().clone();
        let (status, lines) = match act {
            Act::Answer(status, lines) => (status, lines),
            Act::Wait(gate, status, lines) => {
                gate.pass().await;
                (status, lines)
            }
            Act::Panic => panic!("run {run} does not end well"),
        };
        (status, fields(lines), Body::from(format!("run {run}"))).into_response()
    }
}
