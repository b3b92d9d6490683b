//! Encrypted connections, with the feature `redis-tls`.

#[cfg(not(feature = "redis-tls"))]
mod none;
#[cfg(feature = "redis-tls")]
mod rustls;

#[cfg(not(feature = "redis-tls"))]
pub(crate) use self::none::*;
#[cfg(feature = "redis-tls")]
pub(crate) use self::rustls::*;
