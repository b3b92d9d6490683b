//! What a follower logs about failures.

use std::{error::Error as StdError, time::Duration};

use larder::Error;
use tokio::time::Instant;

/// Logs the first of several failures, one a minute after that, the end of the lease, and the first success.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    began: Instant,
    logged: Instant,
    suppressed: u64,
    is_bypassed: bool,
}

const PAUSE: Duration = Duration::from_secs(60);

impl Failures {
    pub(crate) fn failed(&mut self, error: &Error, lease_left: Duration) {
        let (now, cause) = (Instant::now(), error as &(dyn StdError + 'static));
        let is_first = self.outage.is_none();
        let outage = self.outage.get_or_insert(Outage { began: now, logged: now, suppressed: 0, is_bypassed: false });
        if lease_left.is_zero() && !outage.is_bypassed {
            (outage.is_bypassed, outage.logged) = (true, now);
            tracing::error!(error = cause, "the cache is bypassed until the outbox can be followed again");
        } else if is_first {
            tracing::warn!(error = cause, "the outbox cannot be followed; the cache is in use for another {lease_left:?}");
        } else if now - outage.logged >= PAUSE {
            tracing::warn!(error = cause, suppressed = outage.suppressed, "the outbox still cannot be followed");
            (outage.logged, outage.suppressed) = (now, 0);
        } else {
            outage.suppressed += 1;
        }
    }

    pub(crate) fn succeeded(&mut self) {
        if let Some(outage) = self.outage.take() {
            tracing::info!("the outbox is followed again, after {:.1} s", outage.began.elapsed().as_secs_f64());
        }
    }
}
