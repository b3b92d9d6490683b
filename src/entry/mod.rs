//! TODO folder

pub(crate) mod epoch;
pub(crate) mod response;
pub(crate) mod stored;
pub(crate) mod variants;
