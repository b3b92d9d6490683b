//! The options in the query of a store's URL.

use percent_encoding::percent_decode_str;

use super::{ENCODE, malformed, value::Kind};
use crate::error::Error;

/// The options in the query of a store's URL. Each part of a store takes its own; then [`finish`](Self::finish) refuses the rest.
#[derive(Debug)]
pub(crate) struct UrlOptions {
    /// Names and values.
    given: Vec<(String, String)>,
    /// The names of the options that were taken, whether they were given or not.
    known: Vec<&'static str>,
}

impl UrlOptions {
    /// Splits the options from a URL.
    pub(crate) fn split(url: &str) -> Result<(&str, Self), Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        if url.contains('#') || query.contains('@') {
            return Err(malformed(&format!("it contains `#`, or `@` after `?`; {ENCODE}")));
        }
        let given = query.split('&').filter(|option| !option.is_empty()).map(|option| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok((address, Self { given: given.collect::<Result<_, Error>>()?, known: Vec::new() }))
    }

    /// Removes an option; returns its value if it is given.
    pub(crate) fn take<T>(&mut self, name: &'static str, kind: Kind<T>) -> Result<Option<T>, Error> {
        self.known.push(name);
        let mut values = self.given.extract_if(.., |(given, _)| given == name);
        let Some((_, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::invalid_input(format!("the URL of the store has the option `{name}` twice")));
        }
        match kind.parse(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::invalid_input(format!("the option `{name}` in the URL of the store must be {}", kind.written))),
        }
    }

    /// Removes an option, and stores its value if it is given.
    #[allow(dead_code, reason = "only remote stores use it")]
    pub(crate) fn set<T>(&mut self, name: &'static str, kind: Kind<T>, setting: &mut T) -> Result<(), Error> {
        if let Some(value) = self.take(name, kind)? {
            *setting = value;
        }
        Ok(())
    }

    /// Returns an error if an option is left that nothing has taken.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Some((name, _)) = self.given.first() else { return Ok(()) };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let shown = if name.len() <= 64 && name.bytes().all(is_name) { format!(" `{name}`") } else { String::new() };
        let known: Vec<_> = self.known.iter().map(|name| format!("`{name}`")).collect();
        Err(Error::invalid_input(format!(
            "the URL of the store has the unknown option{shown}: this store has {}",
            known.join(", ")
        )))
    }
}

fn decode(text: &str) -> Result<String, Error> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| malformed("an option is not percent-encoded UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::url::value::{COUNT, NAME};

    fn refused(outcome: Result<impl Sized, Error>) -> String {
        let error = outcome.err().unwrap();
        assert!(error.is_invalid_input());
        error.to_string()
    }

    #[test]
    fn options_are_decoded() {
        let (address, mut options) = UrlOptions::split("redis://a?x=a%26b+c&&y=7").unwrap();
        assert_eq!(address, "redis://a");
        assert_eq!(options.take("x", NAME).unwrap().as_deref(), Some("a&b+c"));
        assert_eq!((options.take("y", COUNT).unwrap(), options.take("z", COUNT).unwrap()), (Some(7), None));
        options.finish().unwrap();
    }

    #[test]
    fn an_error_names_the_option_and_not_its_value() {
        let options = |url| UrlOptions::split(url).unwrap().1;
        assert!(refused(options("a?x=secret").take("x", COUNT)).contains("`x` in the URL of the store must be a number"));
        assert!(refused(options("a?x=1&x=secret").take("x", COUNT)).contains("`x` twice"));
        let mut unknown = options("a?z=secret&y=1");
        unknown.take("x", COUNT).unwrap();
        unknown.take("y", COUNT).unwrap();
        assert!(refused(unknown.finish()).ends_with("unknown option `z`: this store has `x`, `y`"));
    }

    #[test]
    fn what_may_be_a_password_is_not_shown() {
        for url in
            ["redis://user:pa?secret@host", "redis://user:pa#secret@host", "redis://user:1?secret%FF", "redis://user:1?secret!"]
        {
            let message = refused(UrlOptions::split(url).and_then(|(_, options)| options.finish()));
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
