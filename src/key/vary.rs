//! The rule of `Vary` (RFC 9111 §4.1): whether a request selects a stored response, by the fields that the response nominates.
//!
//! `http/vary.rs` reads the field, `policy/selecting_fields.rs` adds the fields that the layer names, and `lookup/variants.rs` searches the
//! variants of a URI.

use http::{HeaderMap, HeaderName, header::ACCEPT_ENCODING};

use super::{Key, normalizers::VARIANT, rules::KeyRules};

impl KeyRules {
    /// Appends to `key` which variant a request selects by these fields. A field that the handler does not see selects nothing.
    pub(crate) fn push_variant(&self, key: &mut Key, headers: &HeaderMap, fields: &[HeaderName]) {
        key.push_byte(VARIANT);
        for field in fields.iter().filter(|field| !self.ignores(field.as_str())) {
            key.push(field.as_str().as_bytes());
            self.normalizers.push(key, headers, field);
        }
    }

    /// Returns the key of the variant that a request selects by these fields.
    pub(crate) fn variant(&self, key: &Key, headers: &HeaderMap, fields: &[HeaderName]) -> Key {
        let mut variant = key.clone();
        self.push_variant(&mut variant, headers, fields);
        variant
    }

    /// Whether a request selects the variant with these values of these fields: what [`selection`](Self::selection) returns for it.
    #[inline]
    pub(crate) fn selects(&self, headers: &HeaderMap, fields: &[HeaderName], values: &[u8]) -> bool {
        /// What `push_variant` writes before the value of this field: a byte, its name, and two lengths of four bytes.
        const BEFORE_VALUE: usize = 1 + 4 + "accept-encoding".len() + 4;
        // By far the most frequent `Vary`, compared where its normal form is remembered.
        if *fields == [ACCEPT_ENCODING]
            && self.ignored.is_empty()
            && let Some(form) = values.get(BEFORE_VALUE..)
            && let Some(matches) = self.normalizers.accepts_as(headers, form)
        {
            return matches;
        }
        *self.selection(headers, fields).as_bytes() == *values
    }

    /// Returns which variant a request selects by these fields, without the request's own key.
    pub(crate) fn selection(&self, headers: &HeaderMap, fields: &[HeaderName]) -> Key {
        let mut selection = Key::new();
        self.push_variant(&mut selection, headers, fields);
        selection
    }
}
