//! TODO folder

pub(crate) mod bypass;
pub(crate) mod unsafe_method;
