//! Cache groups (RFC 9875).

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, List, ListEntry, Parser};

/// The groups that a stored response belongs to (RFC 9875 §2).
pub(crate) const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// The groups that a response to an unsafe request invalidates (RFC 9875 §3).
pub(crate) const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// Returns the strings of a structured list, over all lines; an invalid field names no group.
pub(crate) fn group_names(headers: &HeaderMap, field: &HeaderName) -> Vec<String> {
    let lines: Vec<_> = headers.get_all(field).iter().map(http::HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let Ok(list) = Parser::new(&lines.join(&b", "[..])).parse::<List>() else { return Vec::new() };
    list.into_iter().filter_map(name).collect()
}

fn name(member: ListEntry) -> Option<String> {
    match member {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(name) => Some(name.as_str().to_owned()),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(lines: &[&'static str]) -> Vec<String> {
        let lines = lines.iter().map(|line| (CACHE_GROUPS, line.parse().unwrap()));
        group_names(&HeaderMap::from_iter(lines), &CACHE_GROUPS)
    }

    #[test]
    fn s84_groups_are_strings_and_their_parameters_are_ignored() {
        assert_eq!(groups(&[r#""a", "b";x=1, token, 5"#]), ["a", "b"]);
        assert!(groups(&["\"a"]).is_empty());
    }

    #[test]
    fn s84_thirty_two_groups_of_thirty_two_characters_are_understood() {
        let line = vec![format!("\"{}\"", "g".repeat(32)); 32].join(", ");
        let headers = HeaderMap::from_iter([(CACHE_GROUPS, line.parse().unwrap())]);
        assert_eq!(group_names(&headers, &CACHE_GROUPS).len(), 32);
    }
}
