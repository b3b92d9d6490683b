//! The query parameters that are part of the key.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    Key,
    pattern::{self, Pattern, any_matches, patterns},
};
use crate::{http::field::scan::count, lists::IntoNames};

/// Selects the query parameters that are part of the key. The default is the whole query, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueryRule {
    choice: Choice,
    order: Order,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Choice {
    #[default]
    All,
    Only(Vec<Pattern>),
    Ignore(Vec<Pattern>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    #[default]
    AsSent,
    Sorted,
}

impl QueryRule {
    /// Adds parameters that count; discards an earlier `ignore`.
    pub(crate) fn only<S>(mut self, names: impl IntoNames<S>) -> Self {
        match &mut self.choice {
            Choice::Only(present) => present.extend(patterns(names)),
            choice => *choice = Choice::Only(patterns(names)),
        }
        self
    }

    /// Adds parameters that do not count; discards an earlier `only`.
    pub(crate) fn ignore<S>(mut self, names: impl IntoNames<S>) -> Self {
        match &mut self.choice {
            Choice::Ignore(present) => present.extend(patterns(names)),
            choice => *choice = Choice::Ignore(patterns(names)),
        }
        self
    }

    pub(crate) fn sorted(self, on: bool) -> Self {
        Self { order: if on { Order::Sorted } else { Order::AsSent }, ..self }
    }

    /// Appends the rule, in an unambiguous encoding.
    pub(crate) fn describe(&self, description: &mut Key) {
        let (choice, patterns) = match &self.choice {
            Choice::All => (0, &[][..]),
            Choice::Only(patterns) => (1, &patterns[..]),
            Choice::Ignore(patterns) => (2, &patterns[..]),
        };
        description.push_byte(choice);
        pattern::describe(patterns, description);
        description.push_byte(u8::from(self.order == Order::Sorted));
    }

    /// Returns whether the query counts byte for byte.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self, Self { choice: Choice::All, order: Order::AsSent })
    }

    /// Returns the part of `query` that counts, which is also what the handler receives; `None` if nothing is left.
    ///
    /// Parameters are separated by `&` alone, as in `application/x-www-form-urlencoded`, and kept verbatim: two queries share a key only
    /// if the parameters that count are equal byte for byte.
    pub(crate) fn apply<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        let query = query?;
        if self.is_exact() {
            return Some(Cow::Borrowed(query));
        }
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| (name(parameter), parameter));
        let mut kept: SmallVec<[(Cow<'_, str>, &str); 16]> = parameters.filter(|(name, _)| self.keeps(name)).collect();
        if self.order == Order::Sorted {
            // A stable sort by name: the order of several values for one name may matter.
            kept.sort_by(|(a, _), (b, _)| {
                count(a.len().min(b.len()) + 1);
                a.cmp(b)
            });
        }
        (!kept.is_empty()).then(|| Cow::Owned(joined(&kept, query.len())))
    }

    fn keeps(&self, name: &str) -> bool {
        match &self.choice {
            Choice::All => true,
            Choice::Only(patterns) => any_matches(patterns, name),
            Choice::Ignore(patterns) => !any_matches(patterns, name),
        }
    }
}

fn joined(parameters: &[(Cow<'_, str>, &str)], capacity: usize) -> String {
    let mut query = String::with_capacity(capacity);
    for (_, parameter) in parameters {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(parameter);
    }
    count(query.len());
    query
}

/// Returns the decoded name of a parameter.
fn name(parameter: &str) -> Cow<'_, str> {
    count(parameter.len() + 1);
    let name = parameter.split('=').next().unwrap_or_default();
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name);
    }
    form_urlencoded::parse(name.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignoring<'q>(names: &[&str], query: &'q str) -> Option<Cow<'q, str>> {
        QueryRule::default().ignore(names.iter().copied()).apply(Some(query))
    }

    #[test]
    fn ignored_parameters_are_removed_and_others_kept_verbatim() {
        assert_eq!(ignoring(&["utm_*", "fbclid"], "a=%20&utm_source=x&b=2&fbclid=1").as_deref(), Some("a=%20&b=2"));
        assert_eq!(ignoring(&["utm_*"], "utm_source=x"), None);
    }

    #[test]
    fn w4_parameters_are_separated_by_ampersands_only() {
        assert_eq!(ignoring(&["utm_*"], "utm_x=1&utm_x;a=2"), None);
        assert_eq!(ignoring(&["utm_*"], "a=1;a=2").as_deref(), Some("a=1;a=2"));
        assert_eq!(ignoring(&["utm_*"], "a=1%26utm_x=2").as_deref(), Some("a=1%26utm_x=2"));
        assert_eq!(ignoring(&["a b"], "a+b=1&a%20b=2&c=3").as_deref(), Some("c=3"));
        assert_eq!(ignoring(&["utm_*"], "u%74m_x=1&c=%zz").as_deref(), Some("c=%zz"));
    }

    #[test]
    fn sorting_keeps_the_order_of_equal_names() {
        let rule = QueryRule::default().sorted(true);
        assert_eq!(rule.apply(Some("b=1&a=2&b=0&a=1")).as_deref(), Some("a=2&a=1&b=1&b=0"));
    }

    #[test]
    fn only_named_parameters_count() {
        let rule = QueryRule::default().only(["page", "q"]);
        assert_eq!(rule.apply(Some("q=x&session=1&page=2")).as_deref(), Some("q=x&page=2"));
    }
}
