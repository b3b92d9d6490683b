//! The conversion of Redis errors.

use redis::RedisError;

use crate::error::Error;

/// Converts an error of Redis or of the connection to it.
pub(super) fn from_redis(error: RedisError) -> Error {
    if error.is_timeout() {
        return Error::timeout("Redis did not answer in time").with_source(error);
    }
    // The text is rustls'; the `redis` crate has no kind for this error.
    if error.to_string().contains("invalid peer certificate") {
        return Error::unavailable(
            "the certificate of Redis is not trusted: if an authority of your own has signed it, name that to `root_certificates`",
        )
        .with_source(error);
    }
    Error::unavailable("Redis from_redis").with_source(error)
}

/// Returns the error for a reply that larder's scripts never give.
pub(super) fn malformed_reply() -> Error {
    Error::unavailable("Redis gave an answer of another form than expected: is something else under larder's keys?")
}

/// Returns the error for a server that is replaced, or loses its clock, on every attempt.
pub(super) fn primary_keeps_changing() -> Error {
    Error::unavailable("Redis changes its primary, or loses its clock, again and again")
}

/// Returns the error for sentinels that do not confirm that a server is still the primary.
pub(super) fn primary_unconfirmed(error: RedisError) -> Error {
    Error::unavailable(
        "too few of the sentinels in the URL answer to say whether the invalidation has reached the primary: it is carried out again \
         when they do",
    )
    .with_source(error)
}
