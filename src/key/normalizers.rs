//! How request fields are compared when they select a response.

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

/// How the values of a request field are compared when they select a response, for
/// [`CacheLayer::normalize`](crate::CacheLayer::normalize): a function of the value, or a [`LanguageMatcher`].
///
/// Two values with the same normal form select the same response. What [`normalize`](Self::normalize) returns is part of the cache key.
pub trait Normalize: Send + Sync + 'static {
    /// The normal form of a value; the value is empty if the request does not have the field.
    fn normalize(&self, value: &str) -> String;

    /// A description of the configuration, if two configurations may give different values the same normal form: layers with different
    /// identities never share an entry. Default: `None`, only the normal form counts.
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

/// How request fields are compared when they select among variants.
#[derive(Clone, Default)]
pub(crate) struct Normalizers {
    own: Vec<(HeaderName, Arc<dyn Normalize>)>,
    /// Whether lists are compared by their members, languages by their ranks (RFC 9111 §4.1).
    lists: bool,
    /// What keeps credentials among them unreadable.
    pub(crate) secret: Secret,
}

impl Normalizers {
    /// Sets the normal form of a field; the last call for a field wins.
    pub(crate) fn set(&mut self, field: HeaderName, normalizer: impl Normalize) {
        self.own.retain(|(name, _)| *name != field);
        self.own.push((field, Arc::new(normalizer)));
    }

    pub(crate) fn normalize_lists(&mut self, on: bool) {
        self.lists = on;
    }

    /// Appends the configuration itself, in an encoding without ambiguity.
    pub(crate) fn describe(&self, description: &mut Key) {
        let mut own: Vec<_> = self.own.iter().map(|(field, normalizer)| (field.as_str(), normalizer.identity())).collect();
        own.sort();
        description.push_list(own.iter().map(|(field, _)| *field));
        own.iter().for_each(|(_, identity)| description.push_option(identity.as_deref().map(str::as_bytes)));
        description.push_byte(u8::from(self.lists));
    }

    /// Appends the request's value of `field` to `key`, in its normal form.
    pub(crate) fn push(&self, key: &mut Key, headers: &HeaderMap, field: &HeaderName) {
        let value = joined_lines(headers, field);
        if field == AUTHORIZATION || field == COOKIE {
            return key.push_secret(&self.secret, value.as_deref());
        }
        if let Some((_, normalizer)) = self.own.iter().find(|(name, _)| name == field) {
            // An absent field is left to the function too: a language matcher has a default for it.
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

    /// The key of the variant that this request selects.
    pub(crate) fn variant(&self, key: &Key, headers: &HeaderMap, fields: &[HeaderName]) -> Key {
        let mut variant = base_variant_key(key);
        for field in fields {
            variant.push(field.as_str().as_bytes());
            self.push(&mut variant, headers, field);
        }
        variant
    }
}

/// The key of the variant that a response without `Vary` is among others that have it.
pub(crate) fn base_variant_key(key: &Key) -> Key {
    let mut variant = key.clone();
    variant.push_byte(b'V');
    variant
}

impl std::fmt::Debug for Normalizers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.own.iter().map(|(field, _)| field)).finish()
    }
}
