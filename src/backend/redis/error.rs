use redis::RedisError;

use crate::error::Error;

/// A failure of Redis, or of the way to it.
pub(super) fn failed(error: RedisError) -> Error {
    if error.is_timeout() {
        return Error::timeout("Redis did not answer in time").with_source(error);
    }
    // What rustls calls it; the `redis` crate has no kind for it.
    if error.to_string().contains("invalid peer certificate") {
        return Error::unavailable(
            "the certificate of Redis is not trusted: if an authority of your own has signed it, name that to `root_certificates`",
        )
        .with_source(error);
    }
    Error::unavailable("Redis failed").with_source(error)
}

/// An answer that no server gives which runs larder's scripts.
pub(super) fn unexpected() -> Error {
    Error::unavailable("Redis gave an answer of another form than expected: is something else under larder's keys?")
}

/// A server that is another one, or has lost its clock, each time that it is asked.
pub(super) fn changing() -> Error {
    Error::unavailable("Redis changes its primary, or loses its clock, again and again")
}

/// Sentinels that do not say whether a server is still the primary.
pub(super) fn unconfirmed(error: RedisError) -> Error {
    Error::unavailable(
        "too few of the sentinels in the URL answer to say whether the invalidation has reached the primary: it is carried out again \
         when they do",
    )
    .with_source(error)
}
