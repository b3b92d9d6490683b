//! Warm-ups and schedules, as JSON, and their cancellation.

use serde_json::{Value, json};

use super::{input::Input, text::visible};
use crate::{cache::Cache, error::Error};

/// The jobs of this process, the latest first.
pub(super) fn json(cache: &Cache) -> Value {
    let jobs = cache.jobs().into_iter().map(|job| {
        json!({
            "id": job.id,
            "kind": job.kind.as_str(),
            "name": visible(&job.name),
            "began_millis": job.began_millis,
            "has_ended": job.has_ended,
            "runs": job.runs,
            "done": job.progress.done,
            "total": job.progress.total,
            "stored": job.progress.stored,
            "fresh": job.progress.fresh,
            "not_stored": job.progress.not_stored,
            "failed": job.progress.failed,
            "concurrency": job.progress.concurrency,
            "report": job.report.map(|report| visible(&report)),
        })
    });
    json!({ "jobs": jobs.collect::<Vec<_>>() })
}

/// Cancels a job, and returns a sentence about it.
pub(super) fn cancel(cache: &Cache, input: &Input) -> Result<String, Error> {
    let id = input.job.as_deref().and_then(|id| id.parse::<u64>().ok());
    let id = id.ok_or_else(|| Error::invalid_input("give the `job`, the number of a warm-up or a schedule"))?;
    match cache.cancel_job(id) {
        true => Ok(format!("Job {id} is cancelled, in this process")),
        false => Err(Error::invalid_input(format!("there is no job {id}, or it has ended"))),
    }
}
