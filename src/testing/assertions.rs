//! Macros that assert what the cache did with a request.

use std::fmt;

use http::Response;

use crate::http::cache_status::{CacheStatus, Reason};

/// Asserts that a response was answered from the cache; takes a message as `assert!` does.
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
/// If the handler was asked, or no larder layer; the message has the whole [`CacheStatus`], and what its reason means.
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

/// Asserts that a response was not answered from the cache: by its handler, or by the fetch that another request had begun.
///
/// # Panics
/// If it was a hit, or passed no larder layer.
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

/// Asserts that a response was answered by its handler and is stored, or is being stored as its body is read.
///
/// # Panics
/// If it was a hit, is not stored, or passed no larder layer.
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

/// Asserts that a response was answered by its handler and is not stored, for this [`Reason`](crate::Reason).
///
/// # Panics
/// If it was a hit, is stored, is not stored for another reason, or passed no larder layer.
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

/// What an assertion expects.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    Hit,
    Miss,
    Stored,
    NotStored(Reason),
}

/// What the assertions come down to.
#[doc(hidden)]
#[track_caller]
pub fn expect<B>(expected: Expected, response: &Response<B>, about: Option<fmt::Arguments<'_>>) {
    let status = CacheStatus::of(response);
    if !status.is_some_and(|status| expected.holds(status)) {
        let about = about.map_or_else(String::new, |about| format!("{about}: "));
        panic!("{about}{expected}, and {}", described(response.status(), status));
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
            Self::Hit => f.write_str("a hit was expected"),
            Self::Miss => f.write_str("a miss was expected"),
            Self::Stored => f.write_str("a response that is stored was expected"),
            Self::NotStored(reason) => write!(f, "a response that is not stored (`{}`) was expected", reason.as_str()),
        }
    }
}

fn described(code: http::StatusCode, status: Option<&CacheStatus>) -> String {
    let Some(status) = status else { return format!("the response ({code}) did not pass a larder layer") };
    let reason = status.reason().map_or("", Reason::explanation);
    format!("the response ({code}) has `{status}`{}{reason}", if reason.is_empty() { "" } else { ". " })
}
