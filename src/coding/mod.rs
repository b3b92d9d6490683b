//! Content codings (RFC 9110 §8.4): which a client accepts, which responses are worth one, and the encoders.

pub(crate) mod accepted;
pub(crate) mod compressible;
#[cfg_attr(not(feature = "compression"), allow(dead_code, unreachable_pub, reason = "no layer compresses"))]
pub(crate) mod content_coding;
#[cfg(feature = "compression")]
pub(crate) mod encode;
#[cfg(not(feature = "compression"))]
#[path = "no_encoders.rs"]
pub(crate) mod encode;
#[cfg_attr(not(feature = "compression"), allow(dead_code, unreachable_pub, reason = "no layer compresses"))]
pub(crate) mod options;
