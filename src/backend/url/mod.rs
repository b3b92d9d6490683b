//! The parts of a store's URL that every store has: the options of the query, and the hosts.

#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod authority;
pub(crate) mod options;
#[cfg(all(test, any(feature = "redis", feature = "memcached")))]
pub(crate) mod settings;
#[allow(dead_code, reason = "each store uses some of them")]
pub(crate) mod value;

use crate::error::Error;

/// What is wrong with a URL whose password may be cut in two.
pub(crate) const ENCODE: &str = "percent-encode the user and the password: `/` is `%2F`, `?` is `%3F`, `#` is `%23`, `@` is `%40`, \
                                 `:` is `%3A`, `[` is `%5B`, `]` is `%5D` and `%` is `%25`";

/// Returns an error that shows no part of the URL: in a malformed one, a password may be anywhere.
pub(crate) fn malformed(what: &str) -> Error {
    Error::invalid_input(format!("the URL of the store is malformed: {what}"))
}
