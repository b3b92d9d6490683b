//! The normal forms of request fields that select a response, and the keys of variants.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE},
};

use super::{Key, secret::Secret};
use crate::http::{
    accept::{LanguageMatcher, normal_accept_encoding, normal_accept_language, without_list_spaces},
    field::lines::joined_lines,
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
        let value = joined_lines(headers, field);
        if field == AUTHORIZATION || field == COOKIE {
            return key.push_secret(&self.secret, value.as_deref());
        }
        if let Some((_, normalizer)) = self.by_field.iter().find(|(name, _)| name == field) {
            // The normalizer decides about an absent field, too: a language matcher has a default.
            let text = value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            return key.push(normalizer.normalize(&text).as_bytes());
        }
        match value {
            Some(value) if self.lists && field == ACCEPT_LANGUAGE => key.push(&normal_accept_language(&value)),
            Some(value) if self.lists && field != ACCEPT_ENCODING => key.push(&without_list_spaces(&value)),
            Some(value) if field == ACCEPT_ENCODING => key.push(&normal_accept_encoding(&value)),
            value => key.push_option(value.as_deref()),
        }
    }

    /// Returns the key of the variant that a request selects by these fields.
    pub(crate) fn variant(&self, key: &Key, headers: &HeaderMap, fields: &[HeaderName]) -> Key {
        let mut variant = base_variant_key(key);
        for field in fields {
            variant.push(field.as_str().as_bytes());
            self.push(&mut variant, headers, field);
        }
        variant
    }
}

/// Returns the key of the variant without `Vary`, beside variants that have it.
pub(crate) fn base_variant_key(key: &Key) -> Key {
    let mut variant = key.clone();
    variant.push_byte(b'V');
    variant
}

impl std::fmt::Debug for Normalizers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_field.iter().map(|(field, _)| field)).finish()
    }
}
