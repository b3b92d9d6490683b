//! The requests by which a client may try to poison a page for others.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Uri,
    header::{ACCEPT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, ORIGIN},
};

use crate::http::identity_fields::names as identity_names;

/// A part of an attacker's request that may change the response which the cache then serves to others.
#[derive(Debug, Clone)]
pub(super) enum Vector {
    Field(HeaderName, HeaderValue),
    Cookie(String),
    /// Another request target that may lead to the page.
    Target(Form, Uri),
    Content(&'static str, &'static str),
    User(User),
    /// Many requests, after which the page might no longer be cached.
    Many(&'static str, Vec<(HeaderName, HeaderValue)>),
}

/// A client whom the application knows.
#[derive(Debug, Clone)]
pub(super) enum User {
    /// By credentials in a field.
    Field(HeaderName, HeaderValue),
    /// By the cookies that it sets after a form was sent to this target.
    Login(Uri, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Query,
    Path,
}

/// Texts that clean responses do not contain.
pub(super) const CANARIES: [&str; 3] = ["larder-canary", "192.0.2.117", "41117"];

const TEXT: &str = "larder-canary";
const HOST: &str = "larder-canary.example";
const URL: &str = "https://larder-canary.example/larder-canary";
const PATH: &str = "/larder-canary";
const ADDRESS: &str = "192.0.2.117";
const PORT: &str = "41117";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 larder-canary";

/// Fields that handlers, frameworks and proxies are known to read, with values that may change their response.
const FIELDS: &[(&str, &[&str])] = &[
    // The original target, as reported by proxies.
    ("forwarded", &["host=larder-canary.example;proto=https", "for=192.0.2.117"]),
    ("front-end-https", &["on"]),
    ("host", &[HOST, "example.com:41117"]),
    ("x-forwarded", &[TEXT]),
    ("x-forwarded-by", &[TEXT]),
    ("x-forwarded-for", &[ADDRESS]),
    ("x-forwarded-host", &[HOST]),
    ("x-forwarded-path", &[PATH]),
    ("x-forwarded-port", &[PORT]),
    ("x-forwarded-prefix", &[PATH]),
    ("x-forwarded-proto", &["http", "https", TEXT]),
    ("x-forwarded-protocol", &["http", "https", TEXT]),
    ("x-forwarded-scheme", &["http", "https", TEXT]),
    ("x-forwarded-server", &[HOST]),
    ("x-forwarded-ssl", &["on", "off"]),
    ("x-forwarded-uri", &[PATH]),
    ("x-host", &[HOST]),
    ("x-http-host-override", &[HOST]),
    ("x-original-host", &[HOST]),
    ("x-original-uri", &[PATH]),
    ("x-original-url", &[PATH]),
    ("x-override-url", &[PATH]),
    ("x-proxy-url", &[URL]),
    ("x-rewrite-url", &[PATH]),
    ("x-script-name", &[PATH]),
    ("x-url-scheme", &["http", "https", TEXT]),
    ("destination", &[URL]),
    ("base-url", &[URL]),
    // Method overrides.
    ("x-http-method", &["POST", "HEAD"]),
    ("x-http-method-override", &["POST", "DELETE"]),
    ("x-method-override", &["POST", "DELETE"]),
    // The client, as reported by proxies.
    ("cf-connecting-ip", &[ADDRESS]),
    ("cf-ipcountry", &["XX", TEXT]),
    ("cf-visitor", &[r#"{"scheme":"http"}"#, r#"{"scheme":"larder-canary"}"#]),
    ("client-ip", &[ADDRESS]),
    ("cloudfront-viewer-country", &["XX", TEXT]),
    ("fastly-client-ip", &[ADDRESS]),
    ("true-client-ip", &[ADDRESS]),
    ("via", &["1.1 larder-canary"]),
    ("x-client-ip", &[ADDRESS]),
    ("x-country-code", &["XX", TEXT]),
    ("x-real-ip", &[ADDRESS]),
    // The client, as reported by itself.
    ("authorization", &["Bearer larder-canary"]),
    ("from", &["larder-canary@example.com"]),
    ("origin", &["https://larder-canary.example", "null"]),
    ("referer", &[URL]),
    ("user-agent", &[TEXT, PHONE, "Googlebot/2.1 larder-canary"]),
    ("x-api-key", &[TEXT]),
    ("x-csrf-token", &[TEXT]),
    ("x-request-id", &[TEXT]),
    ("x-correlation-id", &[TEXT]),
    ("traceparent", &["00-1a2b3c4d5e6f708192a3b4c5d6e7f809-0123456789abcdef-01"]),
    ("x-session-id", &[TEXT]),
    ("x-tenant-id", &[TEXT]),
    ("x-user", &[TEXT]),
    ("x-user-id", &[TEXT, PORT]),
    // Content negotiation and preferences.
    ("accept", &["application/json", "text/html", "text/larder-canary"]),
    ("accept-charset", &["iso-8859-1", TEXT]),
    ("accept-encoding", &["identity", "gzip", TEXT]),
    ("accept-language", &["de", "ar", TEXT]),
    ("accept-version", &["2", TEXT]),
    ("api-version", &["2", TEXT]),
    ("cache-control", &["no-cache", "no-transform"]),
    ("hx-request", &["true"]),
    ("if-none-match", &["\"larder-canary\""]),
    ("pragma", &["no-cache"]),
    ("prefer", &["return=minimal", TEXT]),
    ("purpose", &["prefetch"]),
    ("range", &["bytes=0-0"]),
    ("rsc", &["1"]),
    ("save-data", &["on"]),
    ("sec-ch-ua-mobile", &["?1"]),
    ("sec-fetch-mode", &["navigate", "cors"]),
    ("sec-gpc", &["1"]),
    ("turbo-frame", &[TEXT]),
    ("x-api-version", &["2", TEXT]),
    ("x-debug", &["1", TEXT]),
    ("x-device", &["mobile", TEXT]),
    ("x-inertia", &["true"]),
    ("x-language", &["de", TEXT]),
    ("x-locale", &["de", TEXT]),
    ("x-pjax", &["true"]),
    ("x-requested-with", &["XMLHttpRequest", TEXT]),
    ("x-theme", &["dark", TEXT]),
    ("x-timezone", &["Asia/Tokyo", TEXT]),
    // Fields that trigger errors in servers, and options that make a proxy remove fields.
    ("connection", &["x-theme", "host", "close, accept-language", "cookie"]),
    ("content-type", &["application/json", TEXT]),
    ("expect", &[TEXT]),
    ("max-forwards", &["0"]),
    ("te", &["trailers", TEXT]),
    ("trailer", &[TEXT]),
    ("upgrade", &[TEXT]),
];

const COOKIES: [&str; 10] = ["session", "sid", "user", "lang", "locale", "theme", "currency", "country", "variant", "token"];

impl Vector {
    /// Returns all vectors for a page, including those for `fields`, `cookies` and `users` of the application.
    pub(super) fn all(page: &Uri, fields: &[HeaderName], cookies: &[String], users: &[User]) -> Vec<Self> {
        let known = FIELDS.iter().flat_map(|(name, values)| values.iter().map(|value| Self::field(name, value)));
        let identity = identity_names().map(|name| Self::field(name, TEXT));
        let users = users.iter().cloned().map(Self::User);
        let own = fields.iter().map(|name| Self::Field(name.clone(), HeaderValue::from_static(TEXT)));
        let cookies = COOKIES.iter().copied().chain(cookies.iter().map(String::as_str)).map(|name| Self::Cookie(name.to_owned()));
        let content =
            [("application/x-www-form-urlencoded", "q=larder-canary"), ("application/json", r#"{"q":"larder-canary"}"#)];
        known
            .chain(identity)
            .chain(own)
            .chain(users)
            .chain(many())
            .chain(malformed_fields())
            .chain(cookies)
            .chain(queries(page))
            .chain(paths(page))
            .chain(content.map(|(kind, content)| Self::Content(kind, content)))
            .collect()
    }

    fn field(name: &'static str, value: &'static str) -> Self {
        Self::Field(HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    /// Adds the vector to a clean request.
    pub(super) fn apply(&self, request: &mut Request<Bytes>) {
        match self {
            Self::Field(name, value) | Self::User(User::Field(name, value)) => {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            // By cookies that are not known before.
            Self::User(User::Login(..)) => {}
            Self::Many(_, fields) => request.headers_mut().extend(fields.first().cloned()),
            Self::Cookie(name) => {
                let line = HeaderValue::from_str(&format!("{name}={TEXT}"));
                request.headers_mut().extend(line.map(|line| (COOKIE, line)));
            }
            Self::Target(_, target) => *request.uri_mut() = target.clone(),
            Self::Content(kind, content) => {
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                request.headers_mut().insert(CONTENT_LENGTH, content.len().into());
                *request.body_mut() = Bytes::from_static(content.as_bytes());
            }
        }
    }

    /// Returns the requests of the attack, made of clean ones.
    pub(super) fn requests(&self, clean: impl Fn() -> Request<Bytes>) -> Vec<Request<Bytes>> {
        let with = |vector: &Self| {
            let mut request = clean();
            vector.apply(&mut request);
            request
        };
        match self {
            Self::Many(_, fields) => fields.iter().map(|(name, value)| with(&Self::Field(name.clone(), value.clone()))).collect(),
            // What the application sets on the first request comes with the second.
            Self::User(User::Field(..)) => vec![with(self), with(self)],
            Self::User(User::Login(target, form)) => {
                let mut login = clean();
                *login.method_mut() = Method::POST;
                *login.uri_mut() = target.clone();
                login.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                login.headers_mut().insert(CONTENT_LENGTH, form.len().into());
                *login.body_mut() = Bytes::from(form.clone());
                vec![login, with(self), with(self)]
            }
            vector => vec![with(vector)],
        }
    }

    /// Whether the page has to be cached afterwards, as if nothing had happened.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self, Self::Many(..))
    }

    /// Returns how to fix the application.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Field(name, _) => {
                format!("add `.vary_on([\"{name}\"])` to the layer or `Vary: {name}` to the response, or do not read the field")
            }
            Self::Cookie(name) => format!("add `.vary_on_cookies([\"{name}\"])` to the layer, or do not read the cookie"),
            Self::User(..) => {
                "the response is for one user: add `.per_principal(..)` or `.bypass_on_cookies([..])` to the layer, or `Cache-Control: private` \
                 to the response"
                    .to_owned()
            }
            Self::Many(..) => {
                "what one client provokes ends caching for all: a handler must not answer it with `private`, `no-store`, `Set-Cookie` or a 5xx".to_owned()
            }
            Self::Target(Form::Query, _) => {
                "the response depends on a part of the query that is not in the key: narrow `ignore_query` or `only_query`, and read \
                 the query inside the layer, where it contains only the parts that are in the key"
                    .to_owned()
            }
            Self::Target(Form::Path, _) => {
                "middleware in front of the layer rewrites the path, and the response depends on the original one".to_owned()
            }
            Self::Content(..) => "middleware in front of the layer removes the content of the request, and the response depends on it".to_owned(),
        }
    }
}

/// A field that is too long for many servers, and one with bytes that many reject.
fn malformed_fields() -> impl Iterator<Item = Vector> {
    let long = HeaderValue::from_str(&"x".repeat(20_000));
    let strange = HeaderValue::from_bytes(b"larder-canary\xff\xfe");
    let fields = [("x-oversized", long), ("x-strange-bytes", strange)];
    fields.into_iter().filter_map(|(name, value)| Some(Vector::Field(HeaderName::from_static(name), value.ok()?)))
}

/// Requests that must not switch the page off: more variants than are kept, and requests that are refused.
fn many() -> [Vector; 3] {
    let flood = |name: HeaderName, value: fn(usize) -> String| {
        let values = (0..40).filter_map(|number| HeaderValue::from_str(&value(number)).ok());
        values.map(|value| (name.clone(), value)).collect::<Vec<_>>()
    };
    let refused = [
        ("authorization", "Bearer larder-canary"),
        ("accept", "text/larder-canary"),
        ("range", "bytes=99999999999-"),
        ("expect", TEXT),
        ("if-match", "\"larder-canary\""),
    ];
    let refused = refused.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    [
        Vector::Many("40 origins", flood(ORIGIN, |number| format!("https://larder-canary-{number}.example"))),
        Vector::Many("40 languages", flood(ACCEPT_LANGUAGE, |number| format!("x-{number}"))),
        Vector::Many("requests that may be refused", refused.to_vec()),
    ]
}

/// Returns queries that may hide a parameter from the key or from the handler.
fn queries(page: &Uri) -> Vec<Vector> {
    let query = page.query().unwrap_or_default();
    let first = query.split(['&', '=']).next().filter(|name| !name.is_empty()).unwrap_or("q");
    let joined = |more: &str| if query.is_empty() { more.to_owned() } else { format!("{query}&{more}") };
    let mut queries = vec![
        format!("{first}={TEXT}&{query}"),
        format!("{first}[]={TEXT}&{query}"),
        format!("{query}#{TEXT}"),
        format!("{query};{first}={TEXT}"),
        format!("{query}%26{first}={TEXT}"),
        format!("{query}?{first}={TEXT}"),
        format!("{query}&&{first}={TEXT}"),
    ];
    for more in [
        format!("{first}={TEXT}"),
        format!("{first}[]={TEXT}"),
        format!("%{:02x}{}={TEXT}", first.as_bytes()[0], &first[1..]),
        format!("utm_source=x;{first}={TEXT}"),
        format!("utm_content=x%26{first}={TEXT}"),
        format!("utm_content=x%3b{first}={TEXT}"),
        format!("+{first}={TEXT}"),
        format!("{}={TEXT}", first.to_ascii_uppercase()),
    ] {
        queries.push(joined(&more));
    }
    for name in
        ["utm_source", "utm_content", "gclid", "fbclid", "_", "cb", "callback", "jsonp", "lang", "debug", "_method", "format"]
    {
        queries.push(joined(&format!("{name}={TEXT}")));
    }
    let targets = queries.into_iter().filter_map(|query| format!("{}?{query}", page.path()).parse().ok());
    targets.map(|target| Vector::Target(Form::Query, target)).collect()
}

/// Returns paths that a component may take for the path of the page.
fn paths(page: &Uri) -> impl Iterator<Item = Vector> + use<> {
    let path = page.path();
    let bare = path.trim_end_matches('/');
    let paths = [
        format!("/{path}"),
        format!("{bare}/"),
        format!("{bare}/."),
        format!("/larder-canary/..{path}"),
        format!("/larder-canary%2f..{path}"),
        format!("{bare};{TEXT}"),
        format!("{bare}.{TEXT}"),
        format!("{bare}%00{TEXT}"),
        format!("{bare}%3f{TEXT}"),
        path.to_ascii_uppercase(),
    ];
    let query = page.query().map(|query| format!("?{query}")).unwrap_or_default();
    let other = page.path().to_owned();
    let targets = paths.into_iter().filter(move |path| *path != other);
    targets.filter_map(move |path| Some(Vector::Target(Form::Path, format!("{path}{query}").parse().ok()?)))
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name, value) if value.len() > 200 => write!(f, "the field `{name}` with {} bytes", value.len()),
            Self::Field(name, value) => write!(f, "the field `{name}: {}`", value.as_bytes().escape_ascii()),
            Self::Cookie(name) => write!(f, "the cookie `{name}={TEXT}`"),
            Self::Target(Form::Query, target) => write!(f, "the query `?{}`", target.query().unwrap_or_default()),
            Self::Target(Form::Path, target) => write!(f, "the path `{}`", target.path()),
            Self::User(User::Field(name, _)) => write!(f, "a user's `{name}`"),
            Self::User(User::Login(target, _)) => write!(f, "the cookies of a login at `{}`", target.path()),
            Self::Many(what, _) => f.write_str(what),
            Self::Content(kind, content) => write!(f, "the content `{content}` ({kind})"),
        }
    }
}
