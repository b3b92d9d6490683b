//! Rate-limited warnings about a store that fails.

use std::error::Error as StdError;

use crate::{error::Error, throttle::Throttle};

/// The effect of a store failure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    HandlerAnswers,
    NotStored,
    NotInvalidated,
}

/// Logs a store failure: for each effect the first one, and then one a minute with the number of the others. An outage must not flood the log.
pub(crate) fn report(error: &Error, effect: Effect) {
    static THROTTLES: [Throttle; 3] = [const { Throttle::new() }; 3];
    let Some(unreported) = THROTTLES[effect as usize].pass() else { return };
    let error = error as &dyn StdError;
    match effect {
        Effect::HandlerAnswers => tracing::warn!(error, unreported, "the cache's store failed; the handler answers"),
        Effect::NotStored => tracing::warn!(error, unreported, "the cache's store failed; the response is not stored"),
        Effect::NotInvalidated => tracing::error!(error, unreported, "an invalidation that no caller waits for has failed"),
    }
}
