//! The normal forms of request fields that select a response, and the keys of variants.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE},
};

use super::{Key, secret::Secret};
use crate::http::{
    accept::{LanguageMatcher, normal_accept_encoding, normal_accept_language, with_normal_accept_encoding, without_list_spaces},
    field::lines::{joined_lines, only_line},
};

/// Normalizes the value of a request field that selects a response, for [`CacheLayer::normalize`](crate::CacheLayer::normalize): a
/// function from value to normal form, or a [`LanguageMatcher`].
///
/// Two values with the same normal form select the same stored response (RFC 9111 §4.1). The normal form is part of the cache key. It is
/// computed for each request, hits included, so it should be fast.
pub trait Normalize: Send + Sync + 'static {
    /// Returns the normal form of a value. The value is empty if the request does not have the field; bytes that are not UTF-8 are replaced
    /// by U+FFFD.
    fn normalize(&self, value: &str) -> String;

    /// Returns a description of the configuration, if two configurations may return the same normal form for different values. Layers with
    /// different identities never share an entry. Default: `None`, only the normal form counts.
    fn identity(&self) -> Option<String> {
        None
    }
}

impl<F: Fn(&str) -> String + Send + Sync + 'static> Normalize for F {
    fn normalize(&self, value: &str) -> String {
        self(value)
    }
}

impl Normalize for LanguageMatcher {
    fn normalize(&self, value: &str) -> String {
        self.best(value).to_owned()
    }

    fn identity(&self) -> Option<String> {
        Some(format!("languages {}", self.available().join(",")))
    }
}

/// The rules by which request fields are normalized.
#[derive(Clone, Default)]
pub(crate) struct Normalizers {
    by_field: Vec<(HeaderName, Arc<dyn Normalize>)>,
    /// Whether lists are compared by their members, and languages by their order of preference (RFC 9111 §4.1).
    lists: bool,
    /// Keys the digests of credentials.
    pub(crate) secret: Secret,
}

impl Normalizers {
    /// Sets the normalizer of a field; the last call for a field wins.
    pub(crate) fn set(&mut self, field: HeaderName, normalizer: impl Normalize) {
        self.by_field.retain(|(name, _)| *name != field);
        self.by_field.push((field, Arc::new(normalizer)));
    }

    /// Whether there are normalizers of the application.
    pub(crate) fn are_custom(&self) -> bool {
        !self.by_field.is_empty()
    }

    pub(crate) fn normalize_lists(&mut self, on: bool) {
        self.lists = on;
    }

    /// Appends the configuration, in an unambiguous encoding.
    pub(crate) fn describe(&self, description: &mut Key) {
        let mut by_field: Vec<_> =
            self.by_field.iter().map(|(field, normalizer)| (field.as_str(), normalizer.identity())).collect();
        by_field.sort();
        description.push_list(by_field.iter().map(|(field, _)| *field));
        by_field.iter().for_each(|(_, identity)| description.push_option(identity.as_deref().map(str::as_bytes)));
        description.push_byte(u8::from(self.lists));
    }

    /// Appends the normal form of a request's `field` to `key`.
    pub(crate) fn push(&self, key: &mut Key, headers: &HeaderMap, field: &HeaderName) {
        if *field == ACCEPT_ENCODING
            && self.by_field.is_empty()
            && let Some(value) = only_line(headers, field)
        {
            return with_normal_accept_encoding(value, |normal| key.push(normal));
        }
        let value = joined_lines(headers, field);
        if field == AUTHORIZATION || field == COOKIE {
            return key.push_secret(&self.secret, value.as_deref());
        }
        match value.as_deref() {
            // A handler cannot tell the difference: `rewrite` does not change white space in fields that it does not know.
            Some(value) if self.lists && self.normalizer(field).is_none() && !is_ranked(field) => {
                key.push(&without_list_spaces(value));
            }
            value => key.push_option(self.normal(field, value).as_deref()),
        }
    }

    /// Whether a request's `Accept-Encoding` has this normal form; `None` if only [`push`](Self::push) can tell.
    #[inline]
    pub(crate) fn accepts_as(&self, headers: &HeaderMap, form: &[u8]) -> Option<bool> {
        let value = only_line(headers, &ACCEPT_ENCODING).filter(|_| self.by_field.is_empty())?;
        Some(with_normal_accept_encoding(value, |normal| normal == form))
    }

    /// Gives the handler the normal forms that the key contains, so that it cannot tell apart what the key does not.
    pub(crate) fn rewrite(&self, headers: &mut HeaderMap, is_shown: impl Fn(&HeaderName) -> bool) {
        let languages = self.lists.then_some(&ACCEPT_LANGUAGE);
        let fields = self.by_field.iter().map(|(field, _)| field).chain([&ACCEPT_ENCODING]).chain(languages);
        for field in fields.filter(|field| is_shown(field)) {
            let value = joined_lines(headers, field);
            let normal = self.normal(field, value.as_deref());
            if normal.as_deref() == value.as_deref() {
                continue;
            }
            match normal.and_then(|normal| HeaderValue::from_maybe_shared(Bytes::from(normal.into_owned())).ok()) {
                Some(normal) => drop(headers.insert(field, normal)),
                // A normal form that is no field value: the handler sees nothing, rather than more than the key.
                None => drop(headers.remove(field)),
            }
        }
    }

    fn normalizer(&self, field: &HeaderName) -> Option<&dyn Normalize> {
        self.by_field.iter().find(|(name, _)| name == field).map(|(_, normalizer)| &**normalizer)
    }

    /// Returns the normal form of a field's value; `None` if the request does not have the field.
    fn normal<'v>(&self, field: &HeaderName, value: Option<&'v [u8]>) -> Option<Cow<'v, [u8]>> {
        if let Some(normalizer) = self.normalizer(field) {
            // The normalizer decides about an absent field, too: a language matcher has a default.
            let text = value.map(String::from_utf8_lossy).unwrap_or_default();
            return Some(Cow::Owned(normalizer.normalize(&text).into_bytes()));
        }
        match value {
            Some(value) if field == ACCEPT_ENCODING => Some(normal_accept_encoding(value)),
            // Hardly any handler compresses for a client that does not ask for it.
            None if field == ACCEPT_ENCODING && !self.lists => Some(normal_accept_encoding(b"")),
            Some(value) if self.lists && field == ACCEPT_LANGUAGE => Some(normal_accept_language(value)),
            value => value.map(Cow::Borrowed),
        }
    }
}

/// Whether the field is a list of weighted members that have a normal form of their own.
fn is_ranked(field: &HeaderName) -> bool {
    field == ACCEPT_ENCODING || field == ACCEPT_LANGUAGE
}

/// What the key of each variant has after the request's own key; alone, it is the variant without `Vary`, beside variants that have it.
pub(crate) const VARIANT: u8 = b'V';

impl std::fmt::Debug for Normalizers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_field.iter().map(|(field, _)| field)).finish()
    }
}
