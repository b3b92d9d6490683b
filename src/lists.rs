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

macro_rules! tuples {
    ($list:ident $visit:ident; $(($($member:ident $index:tt)+))+) => {$(
        impl<$($member: AsRef<str>),+> $list<shape::Tuple> for ($($member,)+) {
            fn $visit(self, mut visit: impl FnMut(&str)) {
                $(visit(self.$index.as_ref());)+
            }
        }
    )+};
}

macro_rules! list {
    ($(#[$meta:meta])* $list:ident $visit:ident) => {
        $(#[$meta])*
        pub trait $list<Shape> {
            #[doc(hidden)]
            fn $visit(self, visit: impl FnMut(&str));
        }

        impl<S: AsRef<str>> $list<shape::One> for S {
            fn $visit(self, mut visit: impl FnMut(&str)) {
                visit(self.as_ref());
            }
        }

        impl<S: AsRef<str>, I: IntoIterator<Item = S>> $list<shape::Many> for I {
            fn $visit(self, mut visit: impl FnMut(&str)) {
                self.into_iter().for_each(|member| visit(member.as_ref()));
            }
        }

        tuples! {
            $list $visit;
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
    /// A tag or a list of tags: `"posts"`, `["posts", "news"]`, an iterator over strings, or a tuple of strings of different types.
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
        note = "a tag is a `&str` or a `String`; a list is an array, a `Vec`, an iterator, or a tuple of both"
    )]
    IntoTags for_each_tag
}

list! {
    /// A name or a list of names, of query parameters, fields or cookies: `"utm_*"`, `["utm_*", "fbclid"]`, an iterator over strings,
    /// or a tuple of strings of different types.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is neither a name nor a list of names",
        label = "expected a name or a list of names",
        note = "a name is a `&str` or a `String`; a list is an array, a `Vec`, an iterator, or a tuple of both"
    )]
    IntoNames for_each_name
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
