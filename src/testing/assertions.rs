//! Macros that assert the outcome of a request.

use std::fmt;

use http::Response;

use crate::http::cache_status::{CacheStatus, Reason};

/// Asserts that a response was served from the cache. Takes an optional message, like `assert!`.
///
/// ```
/// # use std::time::Duration;
/// # use axum::{Router, body::Body, extract::Request, routing::get};
/// # use larder::{Cache, Reason, assert_hit, assert_miss, assert_not_stored, assert_stored};
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let layer = Cache::in_memory(1 << 20).layer().ttl(Duration::from_secs(60));
/// # let app: Router = Router::new().route("/", get(|| async { "hello" }).layer(layer));
/// # let request = || Request::new(Body::empty());
/// # let with_cookie = || Request::builder().header("cookie", "a=b").body(Body::empty()).unwrap();
/// let first = app.clone().oneshot(request()).await.unwrap();
/// assert_miss!(first);
/// assert_stored!(first);
///
/// let second = app.clone().oneshot(request()).await.unwrap();
/// assert_hit!(second, "the same page again");
///
/// let other = app.oneshot(with_cookie()).await.unwrap();
/// assert_not_stored!(other, Reason::RequestCookie);
/// # }
/// ```
///
/// # Panics
/// If the response came from the handler, or did not pass a larder layer. The message contains the [`CacheStatus`] and explains its
/// reason.
#[macro_export]
macro_rules! assert_hit {
    ($response:expr $(, $($about:tt)+)?) => {
        $crate::testing::expect(
            $crate::testing::Expected::Hit,
            &$response,
            ::core::option::Option::None$(.or(::core::option::Option::Some(::core::format_args!($($about)+))))?,
        )
    };
}

/// Asserts that a response was not served from the cache, but by the handler, or by the fetch of another request.
///
/// # Panics
/// If it was a hit, or did not pass a larder layer.
#[macro_export]
macro_rules! assert_miss {
    ($response:expr $(, $($about:tt)+)?) => {
        $crate::testing::expect(
            $crate::testing::Expected::Miss,
            &$response,
            ::core::option::Option::None$(.or(::core::option::Option::Some(::core::format_args!($($about)+))))?,
        )
    };
}

/// Asserts that a response came from the handler and is stored, or will be stored once its body was read.
///
/// # Panics
/// If it was a hit, is not stored, or did not pass a larder layer.
#[macro_export]
macro_rules! assert_stored {
    ($response:expr $(, $($about:tt)+)?) => {
        $crate::testing::expect(
            $crate::testing::Expected::Stored,
            &$response,
            ::core::option::Option::None$(.or(::core::option::Option::Some(::core::format_args!($($about)+))))?,
        )
    };
}

/// Asserts that a response came from the handler and is not stored, for this [`Reason`](crate::Reason).
///
/// # Panics
/// If it was a hit, is stored, is not stored for another reason, or did not pass a larder layer.
#[macro_export]
macro_rules! assert_not_stored {
    ($response:expr, $reason:expr $(, $($about:tt)+)?) => {
        $crate::testing::expect(
            $crate::testing::Expected::NotStored($reason),
            &$response,
            ::core::option::Option::None$(.or(::core::option::Option::Some(::core::format_args!($($about)+))))?,
        )
    };
}

/// The outcome that an assertion expects.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    Hit,
    Miss,
    Stored,
    NotStored(Reason),
}

/// Implements the assertions.
#[doc(hidden)]
#[track_caller]
pub fn expect<B>(expected: Expected, response: &Response<B>, about: Option<fmt::Arguments<'_>>) {
    let status = CacheStatus::of(response);
    if !status.is_some_and(|status| expected.holds(status)) {
        let about = about.map_or_else(String::new, |about| format!("{about}: "));
        panic!("{about}{expected}, but {}", described(response.status(), status));
    }
}

impl Expected {
    fn holds(self, status: &CacheStatus) -> bool {
        match self {
            Self::Hit => status.is_hit(),
            Self::Miss => !status.is_hit(),
            Self::Stored => status.is_stored(),
            Self::NotStored(reason) => status.reason() == Some(reason),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit => f.write_str("expected a hit"),
            Self::Miss => f.write_str("expected a miss"),
            Self::Stored => f.write_str("expected a stored response"),
            Self::NotStored(reason) => write!(f, "expected a response that is not stored (`{}`)", reason.as_str()),
        }
    }
}

fn described(code: http::StatusCode, status: Option<&CacheStatus>) -> String {
    let Some(status) = status else { return format!("the response ({code}) did not pass a larder layer") };
    let reason = status.reason().map_or("", Reason::explanation);
    format!("the response ({code}) has `{status}`{}{reason}", if reason.is_empty() { "" } else { ". " })
}
