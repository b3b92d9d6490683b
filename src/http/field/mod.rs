//! Small and fast readers of field names and values.

pub(crate) mod decimal;
pub(crate) mod interned;
pub(crate) mod lines;
pub(crate) mod name_filter;
pub(crate) mod scan;
