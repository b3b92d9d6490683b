//! What is stored: entries, the responses and variants in them, and their epochs.

pub(crate) mod epoch;
pub(crate) mod response;
pub(crate) mod stored;
pub(crate) mod variants;
