//! Nodes of an application, and the servers that they share.

pub(crate) mod node;
pub(crate) mod topology;
