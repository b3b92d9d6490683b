//! The conversion of Redis errors.

use std::error::Error as _;

use redis::{ErrorKind, RedisError};

use super::version;
use crate::error::Error;

/// Converts an error of Redis or of the connection to it.
pub(super) fn from_redis(error: RedisError) -> Error {
    if error.is_timeout() {
        return Error::timeout("Redis did not reply in time").with_source(error);
    }
    if version::is_too_old(&error) {
        return Error::unavailable(error.detail().unwrap_or_default().to_owned()).with_source(error);
    }
    // The text is rustls'; the `redis` crate has no kind for this error.
    if error.to_string().contains("invalid peer certificate") {
        return Error::unavailable(
            "the certificate of the Redis server is not trusted: if a private authority signed it, pass that to `root_certificates`",
        )
        .with_source(error);
    }
    if let Some(words) = refused_database(&error) {
        let text = format!(
            "Redis refused the database in the URL: {words}; a server has as many as its setting `databases` says, 16 by default, numbered from 0"
        );
        return Error::unavailable(text).with_source(error);
    }
    if let Some(words) = refusal(&error) {
        return Error::unavailable(format!("Redis refused a command: {words}{}", hint(&words)));
    }
    // On a Cluster, the error has no kind of its own.
    if error.kind() == ErrorKind::AuthenticationFailed || error.to_string().contains("Password authentication failed") {
        return Error::unavailable("Redis rejected the user and the password: check those in the URL");
    }
    Error::unavailable("the connection to Redis failed").with_source(error)
}

/// Returns the words of a server that refused a command, such as `NOPERM this user has no permissions to run the 'mget' command`.
fn refusal(error: &RedisError) -> Option<String> {
    let code = error.code()?;
    Some(match error.detail() {
        Some(detail) => format!("{code} {detail}"),
        None => code.to_owned(),
    })
}

/// Returns what to do about a missing right. Redis words it differently at a connection's start and inside a script.
fn hint(words: &str) -> &'static str {
    const SIGNS: [&str; 3] = ["NOPERM", "has no permissions", "The user executing the script can't"];
    match SIGNS.iter().any(|sign| words.contains(sign)) {
        true => "; the documentation of `larder::Redis` lists the rights that its user needs",
        false => "",
    }
}

/// Returns whether larder refused the server because of its version.
pub(super) fn is_too_old(error: &Error) -> bool {
    error.source().and_then(|source| source.downcast_ref()).is_some_and(version::is_too_old)
}

/// Returns whether the server does not have the database in the URL.
pub(super) fn has_no_database(error: &Error) -> bool {
    error.source().and_then(|source| source.downcast_ref()).is_some_and(|error| refused_database(error).is_some())
}

/// Returns the server's words if it has no such database. The first text is that of the `redis` crate, which has no kind for this error; a refusal
/// of `SELECT` for a missing right has it, too.
fn refused_database(error: &RedisError) -> Option<&str> {
    let words = error.detail().filter(|_| error.to_string().contains("refused to switch database"))?;
    (words.contains("out of range") || words.contains("invalid DB index")).then_some(words)
}

/// Returns the error for a reply that larder's scripts never return.
pub(super) fn malformed_reply() -> Error {
    Error::unavailable("Redis returned a malformed reply: does another program use larder's keys?")
}

/// Returns the error for a primary that is replaced, or loses its clock, on every attempt.
pub(super) fn primary_keeps_changing() -> Error {
    Error::unavailable("the Redis primary was replaced, or lost its clock, on every attempt")
}

/// Returns the error for sentinels that do not confirm a server as the primary.
pub(super) fn primary_unconfirmed(error: RedisError) -> Error {
    Error::unavailable(
        "too few of the sentinels in the URL reply, so it is unknown whether the invalidation has reached the primary: it is repeated \
         when they reply",
    )
    .with_source(error)
}
