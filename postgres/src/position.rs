//! How far a follower has read.

/// A snapshot whose committed transactions a follower has all read.
///
/// Numbers of rows do not do: a transaction may take its number first and commit last. The snapshot lists the transactions that were running,
/// so that each is read once it has committed, and no one waits for a slow one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// The run of transaction ids that the snapshot belongs to.
    pub(crate) term: String,
    /// As PostgreSQL writes it: `xmin:xmax:xip,…`.
    pub(crate) snapshot: String,
}
