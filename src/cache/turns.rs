//! Which turns of a schedule this process has taken: with a store that has no fetch lock, two schedules with one name share them here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use foldhash::quality::RandomState;

/// The most schedules whose turns are remembered; those of further ones are taken by each schedule for itself.
const MOST: usize = 4096;

/// The latest turn of each schedule, by the digest of its name.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<u64, u64, RandomState>>);

impl Turns {
    /// Returns whether no schedule with this name has taken this turn or a later one; then this one has taken it.
    pub(crate) fn take(&self, name: u64, turn: u64) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&name).is_some_and(|taken| *taken >= turn) {
            return false;
        }
        if turns.len() < MOST || turns.contains_key(&name) {
            turns.insert(name, turn);
        }
        true
    }
}
