//! The captures of the matched route, and which of several with one name is meant.

/// The captures of the matched route, decoded, in the order of the path.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    all: Vec<(String, String)>,
    /// How many of them belong to the prefixes of the routers that contain the layer's.
    outer: usize,
}

/// Why a name has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unresolved {
    Missing,
    /// The route has several captures of that name, and the layer is inside none of their routers.
    Ambiguous,
}

impl Captures {
    /// Creates the captures of a route, whose `prefix` belongs to the routers around the layer's.
    #[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "only axum has captures"))]
    pub(crate) fn new(all: Vec<(String, String)>, prefix: &str) -> Self {
        let outer = count_captures(prefix).min(all.len());
        Self { all, outer }
    }

    /// Returns all captures with their values, in the order of the path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of the innermost capture with this name: of the layer's own router if it has one, otherwise of the nearest
    /// router around it.
    ///
    /// If a layer is outside of a nest, two captures of one name are in front of it, and either may be meant.
    pub(crate) fn get(&self, name: &str) -> Result<&str, Unresolved> {
        let (outer, inner) = self.all.split_at(self.outer);
        let of_name = |captures: &'_ [(String, String)]| captures.iter().filter(|(capture, _)| capture == name).count();
        match of_name(inner) {
            0 => value(outer, name).ok_or(Unresolved::Missing),
            1 => value(inner, name).ok_or(Unresolved::Missing),
            _ => Err(Unresolved::Ambiguous),
        }
    }
}

/// Returns the value of the last capture with this name.
fn value<'c>(captures: &'c [(String, String)], name: &str) -> Option<&'c str> {
    captures.iter().rev().find(|(capture, _)| capture == name).map(|(_, value)| value.as_str())
}

/// Counts the captures of a path as routers write it; `{{` is a literal brace.
fn count_captures(path: &str) -> usize {
    path.replace("{{", "").matches('{').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(all: &[(&str, &str)], prefix: &str) -> Captures {
        Captures::new(all.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(), prefix)
    }

    #[test]
    fn innermost_capture_of_a_name_counts() {
        let of = |prefix| captures(&[("id", "1"), ("name", "a"), ("id", "2")], prefix);
        assert_eq!(of("/users/{id}/{name}").get("id"), Ok("2"));
        assert_eq!(of("/users/{id}/{{x").get("name"), Ok("a"));
        assert_eq!(of("/users/{id}/{name}/posts/{id}").get("id"), Ok("2"));
        assert_eq!(of("").get("id"), Err(Unresolved::Ambiguous));
        assert_eq!(of("").get("name"), Ok("a"));
        assert_eq!(of("").get("x"), Err(Unresolved::Missing));
        assert_eq!(captures(&[], "/{a}/{b}").get("a"), Err(Unresolved::Missing));
    }
}
