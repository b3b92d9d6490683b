//! The contents of a store: entries, their responses and lists of variants, and their epochs.

pub(crate) mod epoch;
pub(crate) mod response;
pub(crate) mod stored;
pub(crate) mod variants;
