//! `No-Vary-Search`: how a response varies by the query.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use super::field::scan::count;

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// The parts of the query that do not affect a response (`No-Vary-Search`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryVariance {
    pub(crate) parameters: Parameters,
    pub(crate) order: Order,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parameters {
    /// All parameters count except these.
    Ignored(Vec<String>),
    /// Only these parameters count.
    Kept(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Matters,
    Ignored,
}

impl QueryVariance {
    /// Reads the field; `None` if it is absent or invalid: then the whole query counts.
    pub(crate) fn parse(response: &HeaderMap) -> Option<Self> {
        let lines: Vec<_> = response.get_all(NO_VARY_SEARCH).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return None;
        }
        let dictionary: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
        let parameters = match (dictionary.get("params"), dictionary.get("except")) {
            (Some(ignored), None) => Parameters::Ignored(names(ignored)?),
            (None, Some(kept)) => Parameters::Kept(names(kept)?),
            _ => return None,
        };
        let order = match dictionary.get("key-order") {
            None => Order::Matters,
            Some(ListEntry::Item(item)) => match item.bare_item {
                BareItem::Boolean(true) => Order::Ignored,
                BareItem::Boolean(false) => Order::Matters,
                _ => return None,
            },
            Some(ListEntry::InnerList(_)) => return None,
        };
        Some(Self { parameters, order })
    }

    /// Returns the part of a query that counts, in one form for all queries that parse alike; `None` if nothing counts.
    pub(crate) fn apply(&self, query: Option<&str>) -> Option<String> {
        let parsed = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut counting: Vec<(Cow<'_, str>, Cow<'_, str>)> = parsed.filter(|(name, _)| self.counts(name)).collect();
        if self.order == Order::Ignored {
            counting.sort_by(|(a, _), (b, _)| {
                count(a.len().min(b.len()) + 1);
                a.cmp(b)
            });
        }
        let counting = form_urlencoded::Serializer::new(String::new()).extend_pairs(counting).finish();
        (!counting.is_empty()).then_some(counting)
    }

    fn counts(&self, name: &str) -> bool {
        count(name.len() + 1);
        let among = |names: &[String]| names.iter().any(|other| other == name);
        match &self.parameters {
            Parameters::Ignored(names) => !among(names),
            Parameters::Kept(names) => among(names),
        }
    }
}

fn names(list: &ListEntry) -> Option<Vec<String>> {
    let ListEntry::InnerList(InnerList { items, .. }) = list else { return None };
    // Names are encoded as in a query.
    let decoded =
        |name: &str| form_urlencoded::parse(name.as_bytes()).next().map_or_else(String::new, |(name, _)| name.into_owned());
    items.iter().map(|item| item.bare_item.as_string().map(|name| decoded(name.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(field: &'static str) -> Option<QueryVariance> {
        QueryVariance::parse(&HeaderMap::from_iter([(NO_VARY_SEARCH, HeaderValue::from_static(field))]))
    }

    fn counts(field: &'static str, query: &str) -> Option<String> {
        rule(field).unwrap().apply(Some(query))
    }

    #[test]
    fn s93_ignored_kept_and_unordered_parameters() {
        assert_eq!(counts(r#"params=("a" "b")"#, "a=1&c=2&b=3&d=4").as_deref(), Some("c=2&d=4"));
        assert_eq!(counts(r#"except=("c")"#, "a=1&c=2&b=3").as_deref(), Some("c=2"));
        assert_eq!(counts(r#"params=("x"), key-order"#, "b=1&a=2&b=0").as_deref(), Some("a=2&b=1&b=0"));
        assert_eq!(counts(r#"params=("a")"#, "a=1&%61=2"), None);
        assert_eq!(counts(r#"params=("a")"#, "b=%63+d"), counts(r#"params=("a")"#, "b=c%20d"));
    }

    #[test]
    fn s92_what_is_not_in_the_draft_is_the_default() {
        for field in [
            "",
            "params",
            "params=?1",
            "params=(a)",
            r#"params=("a"), except=("b")"#,
            "key-order",
            r#"params=("a"), key-order=1"#,
            "params=(",
        ] {
            assert_eq!(rule(field), None, "{field}");
        }
        assert!(rule(r#"params=("a"), other=7"#).is_some());
    }
}
