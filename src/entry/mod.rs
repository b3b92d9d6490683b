//! The contents of a store: entries, their responses, lists of variants and values, and their epochs.

pub(crate) mod codings;
pub(crate) mod epoch;
pub(crate) mod origin;
pub(crate) mod response;
pub(crate) mod selection;
pub(crate) mod stored;
pub(crate) mod value;
pub(crate) mod variants;
