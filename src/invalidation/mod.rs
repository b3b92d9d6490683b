//! TODO folder

pub(crate) mod target_uri;
