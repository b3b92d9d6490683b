//! A popular key costs one run of its handler, whatever clients, handlers and the clock do.
//!
//! Tokio's clock is paused: it advances only when no task is runnable, so that `settled` takes no time.

mod abandoned;
mod collapsing;
mod followers;
mod limits;
mod runtime;

use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;

use crate::support::{Answer, spawn_get};

/// As long as a layer lets requests wait unless it is told otherwise.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// Asks so often at once.
fn ask_times(times: usize, app: &Router, uri: &str) -> Vec<JoinHandle<Answer>> {
    (0..times).map(|_| spawn_get(app, uri)).collect()
}

/// All answers, in the order of asking.
async fn answers(asked: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(asked.len());
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    answers
}
