//! Tags that the compiler knows: the enums that `cache_tags!` makes, and what their code consists of.

use std::fmt::{self, Display, Write as _};

use super::escape::{escaped, is_in_values};
use crate::lists::{AsTag, AsTemplate};

/// The tags of an application as an enum; [`cache_tags!`](crate::cache_tags) implements it.
pub trait CacheTag: AsTag {
    /// The template of each variant, such as `post:{id}`, in the order of the definition.
    const TEMPLATES: &'static [&'static str];
}

/// The template of a variant, such as `Tag::POST`, for [`CacheLayer::tags`](crate::CacheLayer::tags).
///
/// A capture of the route in it is encoded as the field of a [`CacheTag`] is, so that both make the same tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedTemplate(&'static str);

impl TypedTemplate {
    #[doc(hidden)]
    pub const fn new(template: &'static str) -> Self {
        Self(template)
    }

    /// Returns the template as it was written: `post:{id}`.
    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

impl AsTemplate for TypedTemplate {
    fn with_template(&self, visit: &mut dyn FnMut(&str, bool)) {
        visit(self.0, true);
    }
}

/// Writes the tag that a template makes of the fields of a variant, by their names.
#[doc(hidden)]
pub fn write_tag(f: &mut fmt::Formatter<'_>, template: &str, fields: &[(&str, &dyn Display)]) -> fmt::Result {
    let mut value = String::new();
    for part in parts(template) {
        match part {
            Part::Text(text) => f.write_str(text)?,
            Part::Field(name) => {
                value.clear();
                if let Some((_, field)) = fields.iter().find(|(field, _)| *field == name) {
                    write!(value, "{field}")?;
                }
                f.write_str(&escaped(&value))?;
            }
        }
    }
    Ok(())
}

/// A part of a template.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'t> {
    Text(&'t str),
    Field(&'t str),
}

/// The parts of a template that [`check_template`] has accepted.
pub(crate) fn parts(template: &str) -> impl Iterator<Item = Part<'_>> {
    let pieces = template.split('{').enumerate().flat_map(|(number, piece)| match piece.split_once('}') {
        Some((field, text)) if number > 0 => [Part::Field(field), Part::Text(text)],
        _ => [Part::Text(piece), Part::Text("")],
    });
    pieces.filter(|part| !matches!(part, Part::Text("")))
}

/// Refuses, when the application is compiled, a template that is empty or too long, whose braces have no counterparts, that names a field
/// which the variant lacks or leaves one out, or in which the values of two fields could run into each other.
#[doc(hidden)]
pub const fn check_template(template: &str, fields: &[&str]) {
    let bytes = template.as_bytes();
    assert!(!bytes.is_empty(), "cache_tags!: a tag must not be empty");
    assert!(bytes.len() <= super::MAX_TAG_BYTES, "cache_tags!: a tag must not be longer than 256 bytes");
    let mut found = 0;
    let mut at = 0;
    let mut is_separated = true;
    while at < bytes.len() {
        assert!(bytes[at] != b'}', "cache_tags!: a template has a `}}` without its `{{`");
        if bytes[at] != b'{' {
            is_separated |= !is_in_values(bytes[at]);
            at += 1;
            continue;
        }
        assert!(is_separated, "cache_tags!: between two fields in a template there must be a separator such as `:` or `/`");
        let start = at + 1;
        let mut end = start;
        while end < bytes.len() && bytes[end] != b'}' {
            assert!(bytes[end] != b'{', "cache_tags!: a template has a `{{` inside of braces");
            end += 1;
        }
        assert!(end < bytes.len(), "cache_tags!: a template has a `{{` without its `}}`");
        assert!(is_field(bytes, start, end, fields), "cache_tags!: a template names a field that its variant does not have");
        found += 1;
        at = end + 1;
        is_separated = false;
    }
    let mut field = 0;
    while field < fields.len() {
        assert!(names_field(bytes, fields[field].as_bytes()), "cache_tags!: a field of a variant is not in its template");
        field += 1;
    }
    assert!(found >= fields.len(), "cache_tags!: a field of a variant is not in its template");
}

/// Refuses two variants with one template.
#[doc(hidden)]
pub const fn check_distinct(templates: &[&str]) {
    let mut one = 0;
    while one < templates.len() {
        let mut other = one + 1;
        while other < templates.len() {
            let (a, b) = (templates[one].as_bytes(), templates[other].as_bytes());
            assert!(!(a.len() == b.len() && equal(a, 0, b)), "cache_tags!: two variants have the same template");
            other += 1;
        }
        one += 1;
    }
}

/// Whether the name in braces is a field.
const fn is_field(bytes: &[u8], start: usize, end: usize, fields: &[&str]) -> bool {
    let mut field = 0;
    while field < fields.len() {
        let name = fields[field].as_bytes();
        if name.len() == end - start && equal(bytes, start, name) {
            return true;
        }
        field += 1;
    }
    false
}

/// Whether a template has `{name}`.
const fn names_field(bytes: &[u8], name: &[u8]) -> bool {
    let mut at = 0;
    while at + name.len() + 2 <= bytes.len() {
        if bytes[at] == b'{' && bytes[at + 1 + name.len()] == b'}' && equal(bytes, at + 1, name) {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether `bytes` has `part` at `start`; it is long enough for that.
const fn equal(bytes: &[u8], start: usize, part: &[u8]) -> bool {
    let mut at = 0;
    while at < part.len() {
        if bytes[start + at] != part[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Defines the tags of an application as an enum, so that a misspelled tag does not compile.
///
/// Each variant has a template. Fields are written in braces in it, and can be of any type that implements `Display`. The macro adds `Debug` and `Clone` to
/// the enum, and:
///
/// | | for |
/// |---|---|
/// | `Tag::Post { id }`, a value | [`Cache::invalidate_tags`](crate::Cache::invalidate_tags), [`CacheTags`](crate::CacheTags), [`add_tags`](crate::add_tags), and whatever else takes tags |
/// | `Tag::POST`, the template | [`CacheLayer::tags`](crate::CacheLayer::tags), which takes the fields from captures of the route with the same names |
/// | [`CacheTag::TEMPLATES`] | lists all templates |
/// | `Display` | the tag as text, for logs and other programs |
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, extract::Path, routing::get};
/// use larder::{Cache, cache_tags};
///
/// cache_tags! {
///     /// What the responses depend on.
///     pub enum Tag {
///         Posts = "posts",
///         Post { id: u64 } = "post:{id}",
///         PostsOf { author: String } = "author:{author}:posts",
///     }
/// }
///
/// let cache = Cache::in_memory(64 << 20);
/// let minute = cache.layer().ttl(Duration::from_secs(60));
/// let update = move |Path(id): Path<u64>| async move {
///     // … the write itself …
///     cache.invalidate_tags([Tag::Post { id }, Tag::Posts]).await.map(drop)
/// };
/// let app: Router = Router::new()
///     .route("/posts", get(|| async { "…" }).layer(minute.clone().tags(Tag::POSTS)))
///     .route("/posts/{id}", get(|| async { "…" }).put(update).layer(minute.tags([Tag::POST])));
/// # let _ = app;
/// assert_eq!(Tag::PostsOf { author: "a:b".into() }.to_string(), "author:a%3Ab:posts");
/// ```
///
/// Values are percent-encoded, except for ASCII letters and digits, `-`, `.`, `_` and `~`, so that two lists of values never make the same
/// tag; captures in a template of this kind are encoded in the same way. A number that a client can spell in two ways, such as `7` and
/// `007`, makes two tags from captures: let the handler add the tag in that case (`CacheTags::new(Tag::Post { id })`), from the number that it has
/// parsed.
///
/// In tests, `larder::testing::assert_tags_covered` finds tags that are stored and never invalidated, and the other way round.
///
/// # What does not compile
///
/// A tag that is misspelled:
///
/// ```compile_fail,E0599
/// # larder::cache_tags! { pub enum Tag { Posts = "posts" } }
/// # async fn write(cache: larder::Cache) -> Result<(), larder::Error> {
/// cache.invalidate_tags([Tag::Postz]).await?;
/// # Ok(())
/// # }
/// ```
///
/// A template in place of a value, which would invalidate nothing:
///
/// ```compile_fail,E0277
/// # larder::cache_tags! { pub enum Tag { Post { id: u64 } = "post:{id}" } }
/// # async fn write(cache: larder::Cache) -> Result<(), larder::Error> {
/// cache.invalidate_tags([Tag::POST]).await?;
/// # Ok(())
/// # }
/// ```
///
/// A template that names a field which the variant lacks, or leaves one out:
///
/// ```compile_fail,E0080
/// larder::cache_tags! { pub enum Tag { Post { id: u64 } = "post:{slug}" } }
/// ```
///
/// Fields without a separator between them, and two variants with one template:
///
/// ```compile_fail,E0080
/// larder::cache_tags! { pub enum Tag { Cell { row: u64, column: u64 } = "cell:{row}{column}" } }
/// ```
///
/// ```compile_fail,E0080
/// larder::cache_tags! { pub enum Tag { Posts = "posts", News = "posts" } }
/// ```
#[macro_export]
macro_rules! cache_tags {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $tags:ident {
            $(
                $(#[$about:meta])*
                $variant:ident $({ $($field:ident: $type:ty),+ $(,)? })? = $template:literal
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        #[allow(dead_code, reason = "an application may declare tags that it does not use yet")]
        $visibility enum $tags {
            $(
                $(#[$about])*
                $variant $({
                    $(#[doc = concat!("`{", stringify!($field), "}` of the template.")] $field: $type),+
                })?
            ),+
        }

        const _: () = {
            $($crate::__typed_tags::check_template($template, &[$($(stringify!($field)),+)?]);)+
            $crate::__typed_tags::check_distinct(<$tags as $crate::CacheTag>::TEMPLATES);
        };

        $crate::__typed_tags::paste! {
            #[allow(dead_code, reason = "an application may declare tags that it does not use yet")]
            impl $tags {
                $(
                    #[doc = concat!("The template `", $template, "`.")]
                    $visibility const [<$variant:snake:upper>]: $crate::TypedTemplate =
                        $crate::TypedTemplate::new($template);
                )+
            }
        }

        impl ::core::fmt::Display for $tags {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self {
                    $(
                        Self::$variant $({ $($field),+ })? => $crate::__typed_tags::write_tag(
                            f,
                            $template,
                            &[$($((stringify!($field), $field as &dyn ::core::fmt::Display)),+)?],
                        ),
                    )+
                }
            }
        }

        impl $crate::CacheTag for $tags {
            const TEMPLATES: &'static [&'static str] = &[$($template),+];
        }

        impl $crate::AsTag for $tags {
            fn with_tag(&self, visit: &mut dyn FnMut(&str)) {
                visit(&::std::string::ToString::to_string(self));
            }
        }

        impl $crate::AsTag for &$tags {
            fn with_tag(&self, visit: &mut dyn FnMut(&str)) {
                $crate::AsTag::with_tag(*self, visit);
            }
        }

        // A value has no braces, so that it is a template of itself.
        impl $crate::AsTemplate for $tags {
            fn with_template(&self, visit: &mut dyn FnMut(&str, bool)) {
                visit(&::std::string::ToString::to_string(self), false);
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_checked() {
        check_template("cell:{row}:{column}", &["row", "column"]);
        check_template("{id}", &["id"]);
        for (template, fields) in [
            ("", &[][..]),
            ("post:{id", &["id"]),
            ("post:id}", &["id"]),
            ("post:{{id}}", &["id"]),
            ("post:{id}", &[]),
            ("post", &["id"]),
            ("{a}-{b}", &["a", "b"]),
            ("{a}{b}", &["a", "b"]),
            ("{a}", &["a", "b"]),
        ] {
            assert!(std::panic::catch_unwind(|| check_template(template, fields)).is_err(), "{template}");
        }
    }
}
