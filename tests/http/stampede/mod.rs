//! A popular key costs one run of its handler, whatever clients, handlers and the clock do.
//!
//! Tokio's clock is paused: it moves on only when nobody has anything left to do, so that [`settled`] takes no time.

mod abandoned;
mod collapsing;
mod followers;
mod limits;
mod runtime;

use std::time::Duration;

use axum::Router;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::support::{Answer, get};

/// As long as a layer lets requests wait unless it is told otherwise.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// Waits until everybody else waits for something that this test has to do, or for a time that is not come.
async fn settled() {
    sleep(Duration::from_millis(1)).await;
}

/// Asks in a task of its own.
fn ask(app: &Router, uri: &str) -> JoinHandle<Answer> {
    let (app, uri) = (app.clone(), uri.to_owned());
    tokio::spawn(async move { get(&app, &uri).await })
}

/// Asks so often at once.
fn ask_times(times: usize, app: &Router, uri: &str) -> Vec<JoinHandle<Answer>> {
    (0..times).map(|_| ask(app, uri)).collect()
}

/// All answers, in the order of asking.
async fn answers(asked: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(asked.len());
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    answers
}

/// How long something takes by tokio's clock.
async fn timed<T>(something: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let output = something.await;
    (began.elapsed(), output)
}
