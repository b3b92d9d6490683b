use redis::RedisError;

use crate::error::Error;

/// A failure of Redis, or of the way to it.
pub(super) fn failed(error: RedisError) -> Error {
    match error.is_timeout() {
        true => Error::timeout("Redis did not answer in time").with_source(error),
        false => Error::unavailable("Redis failed").with_source(error),
    }
}

/// An answer that no server gives which runs larder's scripts.
pub(super) fn unexpected() -> Error {
    Error::unavailable("Redis gave an answer of another form than expected: is something else under larder's keys?")
}
