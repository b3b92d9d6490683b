//! What to write so that a response is stored that is not.

use crate::http::cache_status::Reason;

/// The line of code that changes a decision, where there is one.
pub(crate) fn remedy(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::RequestCookie => r#".bypass_on_cookies(["sid"])   // or .vary_on_cookies(["theme"])"#,
        Reason::Authorization => ".per_principal(|parts| user_of(parts))",
        Reason::NoFreshness => ".ttl(Duration::from_secs(60))",
        Reason::Status => ".negative_ttl(Duration::from_secs(10))   // or .ttl_for(status, ttl)",
        Reason::SetCookie | Reason::Credential => ".strip_set_cookie(true)   // if the cookie is not for one user",
        Reason::TooLarge => ".max_body(8 << 20)",
        Reason::TooManyTags => ".max_tags(256)",
        Reason::VariantLimit => r#".normalize("accept-language", LanguageMatcher::new(["en", "de"]))   // or .max_variants(64)"#,
        Reason::QueryTooLong => ".max_query(16_000)",
        Reason::RequestBodyTooLarge => ".cache_post(256 << 10)   // or .cache_query(256 << 10)",
        Reason::RequestBodyType => ".request_body(|body: RequestBody<B>| B::new(body))",
        Reason::Write => ".cache_post_if(64 << 10, |parts, content| reads(parts, content))",
        Reason::RequestFieldsTooLarge => ".max_request_fields(64 << 10)",
        Reason::UnknownHost => r#".hosts(["www.example.com"])"#,
        Reason::SwitchedOff | Reason::ReadOnly => "cache.set_mode(CacheMode::Enabled)",
        Reason::WaitLimit => ".wait_limit(Duration::from_secs(5))",
        Reason::MissingCapture | Reason::AmbiguousCapture => r#".tags(["post:{id}"])   // a capture that the route has once"#,
        Reason::VaryStar => "// answer with `Vary` and the names of the fields, not `*`",
        Reason::NoStore | Reason::NoCache | Reason::Private => "// the handler's own `Cache-Control` forbids it",
        Reason::EventStream => "// streams of events are never stored",
        _ => return None,
    })
}
