//! What public functions accept as tags and as names: one, a tuple, or anything that iterates over them.

/// The shapes of arguments; a type parameter of [`IntoTags`] and [`IntoNames`] that is always inferred.
pub mod shape {
    /// One string.
    #[derive(Debug)]
    pub enum One {}
    /// An iterator over strings.
    #[derive(Debug)]
    pub enum Many {}
    /// A tuple of strings, which may be of different types.
    #[derive(Debug)]
    pub enum Tuple {}
}

/// One tag: a string, or a value of an enum that `cache_tags!` has made.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tag",
    label = "expected a tag",
    note = "a tag is a `&str`, a `String`, or a value such as `Tag::Post {{ id }}`; a template such as `Tag::POST` is for `CacheLayer::tags`"
)]
pub trait AsTag {
    #[doc(hidden)]
    fn with_tag(&self, visit: &mut dyn FnMut(&str));
}

impl<S: AsRef<str> + ?Sized> AsTag for S {
    fn with_tag(&self, visit: &mut dyn FnMut(&str)) {
        visit(self.as_ref());
    }
}

/// One tag template: a string, a template such as `Tag::POST` of an enum that `cache_tags!` has made, or a value of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tag template",
    label = "expected a tag template",
    note = "a template is a `&str`, a `String`, or a constant such as `Tag::POST`"
)]
pub trait AsTemplate {
    /// Visits the template, and whether captures are encoded.
    #[doc(hidden)]
    fn with_template(&self, visit: &mut dyn FnMut(&str, bool));
}

impl<S: AsRef<str> + ?Sized> AsTemplate for S {
    fn with_template(&self, visit: &mut dyn FnMut(&str, bool)) {
        visit(self.as_ref(), false);
    }
}

/// One name.
trait AsName {
    fn with_name(&self, visit: &mut dyn FnMut(&str));
}

impl<S: AsRef<str> + ?Sized> AsName for S {
    fn with_name(&self, visit: &mut dyn FnMut(&str)) {
        visit(self.as_ref());
    }
}

macro_rules! tuples {
    ($list:ident $visit:ident $one:ident $with:ident $arguments:tt; $(($($member:ident $index:tt)+))+) => {$(
        impl<$($member: $one),+> $list<shape::Tuple> for ($($member,)+) {
            fn $visit(self, mut visit: impl FnMut $arguments) {
                $(self.$index.$with(&mut visit);)+
            }
        }
    )+};
}

macro_rules! list {
    ($(#[$meta:meta])* $list:ident $visit:ident $one:ident $with:ident $arguments:tt) => {
        $(#[$meta])*
        pub trait $list<Shape> {
            #[doc(hidden)]
            fn $visit(self, visit: impl FnMut $arguments);
        }

        impl<S: $one> $list<shape::One> for S {
            fn $visit(self, mut visit: impl FnMut $arguments) {
                self.$with(&mut visit);
            }
        }

        impl<S: $one, I: IntoIterator<Item = S>> $list<shape::Many> for I {
            fn $visit(self, mut visit: impl FnMut $arguments) {
                self.into_iter().for_each(|member| member.$with(&mut visit));
            }
        }

        tuples! {
            $list $visit $one $with $arguments;
            (A 0)
            (A 0 B 1)
            (A 0 B 1 C 2)
            (A 0 B 1 C 2 D 3)
            (A 0 B 1 C 2 D 3 E 4)
            (A 0 B 1 C 2 D 3 E 4 F 5)
            (A 0 B 1 C 2 D 3 E 4 F 5 G 6)
            (A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7)
        }
    };
}

list! {
    /// A tag or a list of tags: `"posts"`, `["posts", "news"]`, an iterator over strings, or a tuple of strings of different types. A tag can
    /// also be a value of an enum that `cache_tags!` has made.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let (cache, id) = (larder::Cache::in_memory(1 << 20), 7);
    /// cache.invalidate_tags("posts").await?;
    /// cache.invalidate_tags(("posts", format!("post:{id}"))).await?;
    /// cache.invalidate_tags((1..=3).map(|id| format!("post:{id}"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is neither a tag nor a list of tags",
        label = "expected a tag or a list of tags",
        note = "a tag is a `&str`, a `String`, or a value such as `Tag::Post {{ id }}`; a list is an array, a `Vec`, an iterator, or a tuple of both"
    )]
    IntoTags for_each_tag AsTag with_tag (&str)
}

list! {
    /// A tag template or a list of them, for [`CacheLayer::tags`](crate::CacheLayer::tags): what [`IntoTags`] accepts, where strings may
    /// have captures of the route (`"post:{id}"`), and templates of an enum that `cache_tags!` has made (`Tag::POST`).
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is neither a tag template nor a list of them",
        label = "expected a tag template or a list of them",
        note = "a template is a `&str`, a `String`, or a constant such as `Tag::POST`; a list is an array, a `Vec`, an iterator, or a tuple"
    )]
    IntoTemplates for_each_template AsTemplate with_template (&str, bool)
}

list! {
    /// A name or a list of names, of query parameters, fields or cookies: `"utm_*"`, `["utm_*", "fbclid"]`, an iterator over strings,
    /// or a tuple of strings of different types.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is neither a name nor a list of names",
        label = "expected a name or a list of names",
        note = "a name is a `&str` or a `String`; a list is an array, a `Vec`, an iterator, or a tuple of both"
    )]
    IntoNames for_each_name AsName with_name (&str)
}

/// Returns the names as owned strings.
pub(crate) fn owned<S>(names: impl IntoNames<S>) -> Vec<String> {
    let mut owned = Vec::new();
    names.for_each_name(|name| owned.push(name.to_owned()));
    owned
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

    fn read<S>(tags: impl IntoTags<S>) -> Vec<String> {
        let mut read = Vec::new();
        tags.for_each_tag(|tag| read.push(tag.to_owned()));
        read
    }

    #[test]
    fn accepts_one_many_and_mixed() {
        let id = 7;
        assert_eq!(read("posts"), ["posts"]);
        assert_eq!(read(format!("post:{id}")), ["post:7"]);
        assert_eq!(read(Cow::Borrowed("posts")), ["posts"]);
        assert_eq!(read(Arc::<str>::from("posts")), ["posts"]);
        assert_eq!(read(["a", "b"]), ["a", "b"]);
        assert_eq!(read(&["a", "b"][..]), ["a", "b"]);
        assert_eq!(read(vec![String::from("a")]), ["a"]);
        assert_eq!(read(BTreeSet::from(["b", "a"])), ["a", "b"]);
        assert_eq!(read((1..=2).map(|id| format!("post:{id}"))), ["post:1", "post:2"]);
        assert_eq!(read(("posts", format!("post:{id}"))), ["posts", "post:7"]);
        assert_eq!(read(Vec::<&str>::new()), [""; 0]);
    }
}
