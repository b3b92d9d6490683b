//! Names and prefixes of names, as in `utm_*`.

use super::Key;
use crate::lists::IntoNames;

/// A name or, with `*` at its end, a prefix of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Pattern {
    /// Returns the pattern as the application wrote it.
    fn text(&self) -> String {
        match self {
            Self::Exact(exact) => exact.clone(),
            Self::Prefix(prefix) => format!("{prefix}*"),
        }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

pub(crate) fn patterns<S>(names: impl IntoNames<S>) -> Vec<Pattern> {
    let pattern = |name: &str| match name.strip_suffix('*') {
        Some(prefix) => Pattern::Prefix(prefix.to_owned()),
        None => Pattern::Exact(name.to_owned()),
    };
    let mut patterns = Vec::new();
    names.for_each_name(|name| patterns.push(pattern(name)));
    patterns
}

pub(crate) fn any_matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Appends the patterns, in an unambiguous encoding.
pub(crate) fn describe(patterns: &[Pattern], description: &mut Key) {
    let texts: Vec<String> = patterns.iter().map(Pattern::text).collect();
    description.push_list(texts.iter().map(String::as_str));
}
