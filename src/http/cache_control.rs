//! `Cache-Control` of requests and responses (RFC 9111 §5.2).

use std::{cell::RefCell, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, PRAGMA},
};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::field::{
    latest::Latest,
    lines::only_line,
    scan::{count, find, split, trim},
};

/// The directives of `Cache-Control` that a shared cache acts on (RFC 9111 §5.2).
///
/// All lines are read as one list. Names are case-insensitive, and a quoted string contains no directives. Of repeated directives
/// the most restrictive counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    /// With or without field names: "no-cache" with names is treated as without (§5.2.2.4 allows it).
    pub(crate) no_cache: bool,
    /// With or without field names: "private" with names is treated as without (§5.2.2.7 allows it).
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    /// The response does not change while it is fresh (RFC 8246).
    pub(crate) immutable: bool,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
}

impl CacheControl {
    /// Reads every line of `field`. Each thread remembers its latest values, which most responses of a site share.
    pub(crate) fn parse(headers: &HeaderMap, field: &HeaderName) -> Self {
        thread_local! {
            static LATEST: RefCell<Latest<CacheControl>> = const { RefCell::new(Latest::new()) };
        }
        let parse_line = |line: &[u8]| {
            let mut control = Self::default();
            directives(line, |directive| control.apply(directive));
            control
        };
        if let Some(line) = only_line(headers, field) {
            return Latest::with(&LATEST, line, parse_line, |control| *control);
        }
        let mut control = Self::default();
        for line in headers.get_all(field) {
            directives(line.as_bytes(), |directive| control.apply(directive));
        }
        control
    }

    /// Reads a targeted field, which is a structured dictionary (RFC 9213 §2.1); `None` if it is absent, empty or invalid.
    ///
    /// A directive whose value has the wrong type is ignored.
    pub(crate) fn parse_targeted(headers: &HeaderMap, field: &HeaderName) -> Option<Self> {
        let lines: Vec<_> = headers.get_all(field).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return None;
        }
        let dictionary = Parser::new(&lines.join(&b", "[..])).parse::<Dictionary>().ok()?;
        let mut control = Self::default();
        for (name, entry) in &dictionary {
            let ListEntry::Item(item) = entry else { continue };
            let directive = |argument| ListMember { name: name.as_str().as_bytes(), argument };
            match &item.bare_item {
                BareItem::Boolean(true) if !takes_seconds(name.as_str()) => control.apply(directive(None)),
                BareItem::Integer(seconds) if takes_seconds(name.as_str()) => {
                    control.apply(directive(Some(seconds.to_string().as_bytes())));
                }
                // With field names is treated as without, see the fields of this type.
                BareItem::String(_) if matches!(name.as_str(), "private" | "no-cache") => control.apply(directive(None)),
                _ => {}
            }
        }
        (!dictionary.is_empty()).then_some(control)
    }

    /// Returns these directives, restricted by `no-store`, `no-cache` and `private` of `other`.
    pub(crate) fn with_vetoes_of(self, other: Self) -> Self {
        Self {
            no_store: self.no_store || other.no_store,
            no_cache: self.no_cache || other.no_cache,
            private: self.private || other.private,
            ..self
        }
    }

    /// Returns the freshness lifetime for a shared cache: `s-maxage` takes precedence over `max-age` (§5.2.2.10).
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.s_maxage.or(self.max_age)
    }

    /// Returns whether a shared cache may store the response to a request with `Authorization` (§3.5).
    pub(crate) fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// Returns whether a stale response must not be served without validation, even if the route has a stale window (§4.2.4,
    /// §5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub(crate) fn must_not_serve_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }

    fn apply(&mut self, directive: ListMember<'_>) {
        let named = |name: &str| directive.name.eq_ignore_ascii_case(name.as_bytes());
        if named("no-store") {
            self.no_store = true;
        } else if named("no-cache") {
            self.no_cache = true;
        } else if named("private") {
            self.private = true;
        } else if named("public") {
            self.public = true;
        } else if named("must-revalidate") {
            self.must_revalidate = true;
        } else if named("immutable") {
            self.immutable = true;
        } else if named("must-understand") {
            self.must_understand = true;
        } else if named("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if named("stale-while-revalidate") {
            self.stale_while_revalidate = stricter(self.stale_while_revalidate, directive.argument);
        } else if named("stale-if-error") {
            self.stale_if_error = stricter(self.stale_if_error, directive.argument);
        } else if named("max-age") {
            self.max_age = stricter(self.max_age, directive.argument);
        } else if named("s-maxage") {
            self.s_maxage = stricter(self.s_maxage, directive.argument);
        }
    }
}

fn takes_seconds(directive: &str) -> bool {
    matches!(directive, "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error")
}

/// The directives of a request that restrict which stored response may be served (RFC 9111 §5.2.1); durations in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    max_age: Option<u64>,
    min_fresh: Option<u64>,
    /// The longest acceptable time since the response became stale.
    max_stale: Option<u64>,
}

impl RequestDirectives {
    /// Reads `Cache-Control`, or `Pragma` if there is no `Cache-Control` (§5.4). Unknown and invalid directives are ignored.
    pub(crate) fn parse(request: &HeaderMap) -> Self {
        let mut found = Self::default();
        if !request.contains_key(CACHE_CONTROL) {
            for line in request.get_all(PRAGMA) {
                directives(line.as_bytes(), |pragma| found.no_cache |= pragma.name.eq_ignore_ascii_case(b"no-cache"));
            }
            return found;
        }
        for line in request.get_all(CACHE_CONTROL) {
            directives(line.as_bytes(), |directive| found.apply(directive));
        }
        found
    }

    /// Returns whether a fresh response satisfies the directives; both arguments are in seconds.
    pub(crate) fn accept_fresh(self, age: u64, ttl: i64) -> bool {
        let fresh_enough = self.min_fresh.is_none_or(|seconds| i64::try_from(seconds).is_ok_and(|seconds| seconds <= ttl));
        // Ages are whole seconds: without the comparison with 0, a reload ("max-age=0") would accept an age of 0.9 seconds.
        let young_enough = self.max_age.is_none_or(|seconds| seconds > 0 && age <= seconds);
        !self.no_cache && young_enough && fresh_enough
    }

    /// Returns whether a response that became stale `-ttl` seconds ago satisfies the directives.
    pub(crate) fn accept_stale(self, age: u64, ttl: i64) -> bool {
        let stale_for = ttl.unsigned_abs();
        let old_enough = self.max_age.is_none_or(|seconds| age <= seconds);
        !self.no_cache && self.min_fresh.is_none() && old_enough && self.max_stale.is_some_and(|seconds| stale_for <= seconds)
    }

    fn apply(&mut self, directive: ListMember<'_>) {
        let named = |name: &str| directive.name.eq_ignore_ascii_case(name.as_bytes());
        let seconds = directive.argument.and_then(delta_seconds);
        if named("no-cache") {
            self.no_cache = true;
        } else if named("only-if-cached") {
            self.only_if_cached = true;
        } else if named("max-age") {
            self.max_age = seconds.or(self.max_age);
        } else if named("min-fresh") {
            self.min_fresh = seconds.or(self.min_fresh);
        } else if named("max-stale") {
            // Without an argument, any staleness is acceptable (§5.2.1.2).
            self.max_stale = if directive.argument.is_none() { Some(u64::MAX) } else { seconds.or(self.max_stale) };
        }
    }
}

/// Returns the fields that `private` and `no-cache` name: without them, the response may be stored and served (§5.2.2.4, §5.2.2.7).
/// `None` if one of the directives has no names, or an invalid one.
pub(crate) fn named_fields(headers: &HeaderMap, field: &HeaderName) -> Option<Vec<HeaderName>> {
    let mut named = Vec::new();
    let mut all_are_names = true;
    for line in headers.get_all(field) {
        directives(line.as_bytes(), |directive| {
            if !(directive.name.eq_ignore_ascii_case(b"private") || directive.name.eq_ignore_ascii_case(b"no-cache")) {
                return;
            }
            for name in split(directive.argument.unwrap_or_default(), |byte| byte == b',').map(trim) {
                let name = HeaderName::from_bytes(name);
                all_are_names &= name.is_ok();
                named.extend(name);
            }
        });
    }
    all_are_names.then_some(named)
}

/// Returns the shorter lifetime. An invalid one counts as zero: the response is stale (RFC 9111 §4.2.1).
fn stricter(present: Option<Duration>, argument: Option<&[u8]>) -> Option<Duration> {
    let seconds = argument.and_then(delta_seconds).unwrap_or(0);
    let lifetime = Duration::from_secs(seconds);
    Some(present.map_or(lifetime, |present| present.min(lifetime)))
}

/// Parses delta-seconds; a number that overflows becomes 2^31 (RFC 9111 §1.2.2).
pub(crate) fn delta_seconds(text: &[u8]) -> Option<u64> {
    /// The value that the RFC prescribes on overflow.
    const MAX: u64 = 1 << 31;
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(MAX)))
}

struct ListMember<'a> {
    name: &'a [u8],
    argument: Option<&'a [u8]>,
}

fn directives<'a>(line: &'a [u8], mut each: impl FnMut(ListMember<'a>)) {
    let mut list = List { rest: line, quotes_close: true };
    while !list.rest.is_empty() {
        let member = trim(list.next_member());
        if !member.is_empty() {
            each(directive(member));
        }
    }
}

/// The rest of a list; each byte is read once.
struct List<'a> {
    rest: &'a [u8],
    /// Whether every quote so far was closed. After one that is not, no later quote is closed either: the bytes after it have been
    /// searched already, with the same escapes.
    quotes_close: bool,
}

impl<'a> List<'a> {
    fn next_member(&mut self) -> &'a [u8] {
        let end = self.member_end();
        let member = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        member
    }

    /// Returns the end of the first list member: a comma outside of quoted strings.
    fn member_end(&mut self) -> usize {
        let mut at = 0;
        while at < self.rest.len() {
            count(1);
            match self.rest[at] {
                b',' => return at,
                b'"' if self.quotes_close => at = self.after_quoted(at),
                _ => at += 1,
            }
        }
        self.rest.len()
    }

    /// Returns the position after a quoted string. A quote that is never closed hides nothing: the commas after it count.
    fn after_quoted(&mut self, open: usize) -> usize {
        let closing = closing_quote(self.rest, open);
        self.quotes_close = closing.is_some();
        closing.unwrap_or(open) + 1
    }
}

fn closing_quote(list: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < list.len() {
        count(1);
        match list[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

fn directive(member: &[u8]) -> ListMember<'_> {
    let Some(equals) = find(member, |byte| byte == b'=') else {
        return ListMember { name: member, argument: None };
    };
    let (name, value) = (&member[..equals], &member[equals + 1..]);
    if name.ends_with(b" ") || name.ends_with(b"\t") {
        // White space before "=" is invalid (RFC 9110 §5.6.6): the directive counts, its argument does not.
        return ListMember { name: trim(name), argument: None };
    }
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    ListMember { name, argument: Some(unquoted.unwrap_or(value)) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::CACHE_CONTROL};

    use super::*;

    fn parse(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        CacheControl::parse(&headers, &CACHE_CONTROL)
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn p6_letter_case_spacing_and_lines_do_not_hide_a_directive() {
        assert!(parse(&["PRIVATE"]).private);
        assert!(parse(&["No-Store"]).no_store);
        let control = parse(&["private , max-age=9"]);
        assert!(control.private && control.max_age == seconds(9));
        let control = parse(&["max-age=9", "public", "\tno-STORE\t"]);
        assert!(control.no_store && control.public);
        assert!(parse(&[",,, ,no-store"]).no_store);
    }

    #[test]
    fn s37_a_quoted_string_holds_no_directives() {
        let control = parse(&[r#"ext="a, no-store, max-age=5", max-age=60"#]);
        assert!(!control.no_store);
        assert_eq!(control.max_age, seconds(60));
        assert_eq!(parse(&[r#"ext="a\", no-store", max-age=60"#]), parse(&["max-age=60"]));
    }

    #[test]
    fn a_quote_that_never_closes_hides_nothing() {
        assert!(parse(&[r#"ext="a, no-store"#]).no_store);
    }

    #[test]
    fn s7_field_names_make_private_and_no_cache_no_weaker() {
        assert!(parse(&[r#"private="set-cookie""#]).private);
        assert!(parse(&[r#"no-cache="x-a, x-b", max-age=9"#]).no_cache);
    }

    #[test]
    fn s33_s_maxage_takes_precedence_over_max_age() {
        assert_eq!(parse(&["max-age=5, s-maxage=9"]).lifetime(), seconds(9));
    }

    #[test]
    fn s35_a_number_too_large_is_two_to_the_31st() {
        assert_eq!(parse(&["max-age=99999999999999999999999"]).max_age, seconds(1 << 31));
    }

    #[test]
    fn s36_of_repeated_lifetimes_the_shortest_counts_and_an_invalid_one_is_zero() {
        assert_eq!(parse(&["max-age=9, max-age=5"]).max_age, seconds(5));
        for invalid in
            ["max-age=1.5", "max-age=a100", "max-age=100a", "max-age =5", "max-age= 5", "max-age=-1", "max-age=", "max-age"]
        {
            assert_eq!(parse(&[invalid]).max_age, seconds(0), "{invalid}");
        }
    }

    #[test]
    fn s47_each_of_four_directives_forbids_stale_use() {
        for forbids in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=5"] {
            assert!(parse(&[forbids, "stale-while-revalidate=60"]).must_not_serve_stale(), "{forbids}");
        }
        assert!(!parse(&["max-age=5, stale-while-revalidate=60"]).must_not_serve_stale());
    }

    #[test]
    fn s39_a_number_may_be_quoted() {
        assert_eq!(parse(&[r#"max-age="60""#]).max_age, seconds(60));
    }
}

#[cfg(test)]
mod properties {
    use std::time::SystemTime;

    use http::{
        HeaderValue, Request, Response, StatusCode,
        header::{AGE, AUTHORIZATION, CACHE_CONTROL, DATE, EXPIRES},
    };
    use http_cache_semantics::{CacheOptions, CachePolicy};
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;
    use crate::{
        clock::Timestamp,
        policy::{
            freshness::Timing,
            response_view::ResponseView,
            storable::{RequestConstraints, storable},
            store_rules::StoreRules,
        },
    };

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_without_panic(lines in vec(vec(any::<u8>(), 0..40), 0..4), number in vec(any::<u8>(), 0..20)) {
            let lines = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
            let headers: HeaderMap = lines.map(|line| (CACHE_CONTROL, line)).collect();
            CacheControl::parse(&headers, &CACHE_CONTROL);
            delta_seconds(&number);
        }

        #[test]
        fn text_full_of_quotes_and_commas_is_read_without_panic(lines in vec(r#"[a=,"\\ ]{0,12}(no-store)?"#, 0..3)) {
            let headers: HeaderMap = lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_str(line).unwrap())).collect();
            let control = CacheControl::parse(&headers, &CACHE_CONTROL);
            prop_assert!(control.max_age.is_none() && !control.private);
        }

        #[test]
        fn the_strictest_line_counts_in_any_order(
            mut directives in vec(directive(), 0..6),
            cut in 0..6_usize,
        ) {
            let joined = parse(std::slice::from_ref(&directives.join(", ")));
            prop_assert_eq!(parse(&directives), joined);
            let cut = cut.min(directives.len());
            directives.rotate_left(cut);
            prop_assert_eq!(parse(&directives), joined);
            let shouted: Vec<_> = directives.iter().map(|directive| directive.to_uppercase()).collect();
            prop_assert_eq!(parse(&shouted), joined);
        }

        #[test]
        fn storability_and_lifetime_agree_with_another_implementation(response in response()) {
            let theirs = response.their_lifetime();
            prop_assert_eq!(response.our_lifetime(), theirs);
        }
    }

    fn parse(lines: &[String]) -> CacheControl {
        let headers = lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_str(line).unwrap()));
        CacheControl::parse(&HeaderMap::from_iter(headers), &CACHE_CONTROL)
    }

    fn directive() -> impl Strategy<Value = String> {
        let plain = select(&["no-store", "no-cache", "private", "public", "must-revalidate", "immutable", "x-unknown"]);
        let valued = (select(&["max-age", "s-maxage", "stale-if-error"]), 0..2000_u64);
        prop_oneof![
            plain.prop_map(str::to_owned),
            valued.clone().prop_map(|(name, seconds)| format!("{name}={seconds}")),
            valued.prop_map(|(name, seconds)| format!("{name}=\"{seconds}\"")),
        ]
    }

    /// A response that both implementations judge, and whether its request has `Authorization`.
    #[derive(Debug, Clone)]
    struct Answered {
        status: u16,
        directives: Vec<String>,
        in_lines: bool,
        age: Option<u64>,
        /// In seconds after the response was received.
        expires: Option<Result<i64, &'static str>>,
        dated: bool,
        authorized: bool,
    }

    /// When the response was received, in seconds since 1970.
    const NOW: u64 = 1_700_000_000;

    fn response() -> impl Strategy<Value = Answered> {
        let expires = prop_oneof![(-100..3000_i64).prop_map(Ok), select(&["0", "-1", "soon"]).prop_map(Err)];
        (
            select(&[200_u16, 203, 204, 301, 308, 404, 410, 206, 304, 500, 503]),
            vec(comparable_directive(), 0..4),
            any::<bool>(),
            option::of(0..2500_u64),
            option::of(expires),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(status, mut directives, in_lines, age, expires, dated, authorized)| {
                // Of repeated lifetimes, larder takes the shortest and the other implementation the first: RFC 9111 §4.2.1 allows either.
                let mut seen = std::collections::HashSet::new();
                directives.retain(|directive: &String| seen.insert(directive.split('=').next().unwrap_or_default().to_owned()));
                Answered { status, directives, in_lines, age, expires, dated, authorized }
            })
    }

    /// Directives that both implementations support. The other one does not support upper case and commas in quoted strings
    /// (RFC 9111 §5.2, RFC 9110 §5.6.4), ignores a lifetime without an argument (stale by RFC 9111 §4.2.1), takes `immutable` for a
    /// lifetime (RFC 8246 gives none), and `proxy-revalidate` for `no-cache` (RFC 9111 §5.2.2.8 concerns stale responses only).
    fn comparable_directive() -> impl Strategy<Value = String> {
        let lifetime = (select(&["max-age", "s-maxage"]), select(&["0", "1", "60", "1000", "\"60\"", "-1", "1.5", "a", ""]));
        prop_oneof![
            2 => select(&["no-store", "no-cache", "private", "public", "must-revalidate", "x-unknown", "x-unknown=1"])
                .prop_map(str::to_owned),
            3 => lifetime.prop_map(|(name, value)| format!("{name}={value}")),
        ]
    }

    impl Answered {
        fn response(&self) -> Response<()> {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
            let mut add = |name, value: &str| response.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
            if self.in_lines {
                self.directives.iter().for_each(|directive| _ = add(CACHE_CONTROL, directive));
            } else if !self.directives.is_empty() {
                add(CACHE_CONTROL, &self.directives.join(", "));
            }
            self.age.iter().for_each(|age| _ = add(AGE, &age.to_string()));
            match self.expires {
                None => {}
                Some(Ok(seconds)) => _ = add(EXPIRES, &http_date(seconds)),
                Some(Err(text)) => _ = add(EXPIRES, text),
            }
            if self.dated {
                add(DATE, &http_date(0));
            }
            response
        }

        /// How long larder serves the response after it was received; `None` if it is not stored.
        fn our_lifetime(&self) -> Option<Duration> {
            let (response, ()) = self.response().into_parts();
            let at: Timestamp = received().into();
            let timing = Timing { requested: at, received: at, jitter_draw: 0.0 };
            let request = RequestConstraints { authorized: self.authorized, no_store: false };
            let lifetime = storable(&StoreRules::default(), request, &ResponseView::new(&response, Some(0)), timing).ok()?;
            Some(lifetime.fresh_until.since(at))
        }

        /// The same by the other implementation, as a shared cache without heuristic freshness.
        fn their_lifetime(&self) -> Option<Duration> {
            let mut request = Request::new(());
            if self.authorized {
                request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
            }
            let options = CacheOptions { cache_heuristic: 0.0, ..CacheOptions::default() };
            let policy = CachePolicy::new_options(&request, &self.response(), received(), options);
            let lifetime = policy.time_to_live(received());
            (policy.is_storable() && !lifetime.is_zero()).then_some(lifetime)
        }
    }

    fn received() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn http_date(seconds_from_now: i64) -> String {
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.saturating_add_signed(seconds_from_now)))
    }
}
