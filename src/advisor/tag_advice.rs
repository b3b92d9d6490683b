//! The tag to give a route that a write changes.

use super::causes::SharedCapture;

/// Returns the tag of the read route, and the same tag with the captures of the write's route.
///
/// If the two routes share a capture, it is the entity before it, `post:{id}` for `/posts/{id}`; otherwise the collection, `posts`.
pub(super) fn tags(read_route: &str, shared: Option<&SharedCapture>) -> (String, String) {
    match shared {
        Some(SharedCapture { read, written }) => {
            let entity = entity(read_route, read);
            (format!("{entity}:{{{read}}}"), format!("{entity}:{{{written}}}"))
        }
        None => {
            let collection = segments(read_route).rfind(|segment| !is_capture(segment)).unwrap_or("home").to_owned();
            (collection.clone(), collection)
        }
    }
}

/// The name of what a capture identifies: the segment before it, in the singular.
fn entity(route: &str, capture: &str) -> String {
    let before = segments(route).zip(segments(route).skip(1)).find(|(_, segment)| captured_name(segment) == Some(capture));
    match before {
        Some((segment, _)) if !is_capture(segment) => singular(segment),
        _ => capture.to_owned(),
    }
}

fn segments(route: &str) -> impl DoubleEndedIterator<Item = &str> {
    route.split('/').filter(|segment| !segment.is_empty())
}

fn is_capture(segment: &str) -> bool {
    segment.starts_with('{') && !segment.starts_with("{{")
}

fn captured_name(segment: &str) -> Option<&str> {
    Some(segment.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*'))
}

fn singular(noun: &str) -> String {
    match noun {
        _ if noun.ends_with("ies") && noun.len() > 4 => format!("{}y", &noun[..noun.len() - 3]),
        _ if noun.ends_with("ss") || noun.ends_with("us") => noun.to_owned(),
        _ if ["sses", "xes", "ches", "shes"].iter().any(|end| noun.ends_with(end)) => noun[..noun.len() - 2].to_owned(),
        _ => noun.strip_suffix('s').unwrap_or(noun).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_named_after_the_entity_or_the_collection() {
        let of =
            |route, read: &str, written: &str| tags(route, Some(&SharedCapture { read: read.into(), written: written.into() }));
        assert_eq!(of("/posts/{id}", "id", "id"), ("post:{id}".into(), "post:{id}".into()));
        assert_eq!(of("/users/{user}/posts/{post}", "user", "id"), ("user:{user}".into(), "user:{id}".into()));
        assert_eq!(of("/categories/{name}", "name", "name").0, "category:{name}");
        assert_eq!(of("/{*path}", "path", "path").0, "path:{path}");
        assert_eq!(tags("/api/posts/{id}", None).0, "posts");
        assert_eq!(tags("/", None).0, "home");
        assert_eq!(["boxes", "news", "status", "address", "s"].map(singular), ["box", "new", "status", "address", ""]);
    }
}
