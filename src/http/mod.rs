//! TODO folder

pub(crate) mod field;
