//! The frame of all screens, and the headers that keep it safe.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{access::Granted, state::State, text::visible};
use crate::{backend::cache_mode::CacheMode, key::secret::Secret};

/// The screens, in the order of the navigation: path, and name. A further one needs a line here and one in `router.rs`.
pub(super) const SCREENS: [(&str, &str); 10] = [
    ("", "Overview"),
    ("routes", "Routes"),
    ("explain", "Explain"),
    ("keys", "Keys"),
    ("tags", "Tags"),
    ("store", "Store"),
    ("memory", "Memory"),
    ("advisor", "Advisor"),
    ("jobs", "Jobs"),
    ("live", "Live"),
];

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// One view of the page: for whom, and where its links lead.
pub(super) struct View<'v> {
    pub(super) state: &'v State,
    pub(super) granted: &'v Granted,
    /// The path from the URL of this view to the root of the page: empty, `../`, or the last segment and a slash.
    pub(super) base: String,
    /// The path of the screen, as in [`SCREENS`].
    pub(super) screen: &'static str,
    pub(super) nonce: String,
}

impl View<'_> {
    /// Returns a relative link to a path of the page, so that the page works wherever it is mounted.
    pub(super) fn link(&self, path: &str) -> String {
        match (self.base.as_str(), path) {
            ("", "") => "./".to_owned(),
            (base, path) => format!("{base}{path}"),
        }
    }

    /// Puts the content of a screen into the frame.
    pub(super) fn frame(&self, title: &str, content: &Markup) -> String {
        let cache = &self.state.cache;
        let mode = cache.mode();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (title) " · larder" }
                    link rel="icon" href="data:,";
                    style nonce=(self.nonce) { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header {
                        div.brand {
                            span.mark aria-hidden="true" {}
                            strong { "larder" }
                            span.muted { @if *cache.inner.name != *"larder" { (visible(&cache.inner.name)) } @if !cache.inner.namespace.is_empty() { " / " (visible(&cache.inner.namespace)) } }
                        }
                        nav aria-label="Screens" {
                            @for (path, name) in SCREENS {
                                a href=(self.link(path)) aria-current=[(path == self.screen).then_some("page")] { (name) }
                            }
                        }
                        div.who { (mode_badge(mode)) span.muted { (visible(self.granted.principal())) } }
                    }
                    main id="main" { (content) }
                    @if self.screen == "live" { script nonce=(self.nonce) { (PreEscaped(SCRIPT)) } }
                }
            }
        };
        page.into_string()
    }
}

pub(super) fn mode_badge(mode: CacheMode) -> Markup {
    let class = match mode {
        CacheMode::Enabled => "badge good",
        CacheMode::ReadOnly => "badge warn",
        CacheMode::Bypass => "badge bad",
    };
    html! { span class=(class) { (mode) } }
}

/// Returns a number that no one can guess, for one page.
pub(super) fn nonce() -> String {
    static SECRET: LazyLock<Secret> = LazyLock::new(Secret::default);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    SECRET.digest(&[&b"nonce"[..], &number.to_le_bytes()].concat()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds the fields that every answer has.
pub(super) fn protect(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // `no-referrer` would make browsers send `Origin: null` with forms.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}

/// Adds the fields of a page in HTML.
pub(super) fn protect_page(headers: &mut HeaderMap, nonce: &str) {
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}
