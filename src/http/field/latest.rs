//! What was computed from the latest values of a field.

use std::{cell::RefCell, thread::LocalKey};

/// The latest values of a field on one thread, with what was computed from each: a few values make up all traffic. A client that invents
/// values makes others compute theirs again. Bounded: the latest eight, of 64 bytes each; longer ones are not remembered.
#[derive(Debug)]
pub(crate) struct Latest<T>(Vec<(Box<[u8]>, T)>);

const REMEMBERED: usize = 8;
const LONGEST: usize = 64;

impl<T> Latest<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Passes what follows from `value` to `user`: remembered, or computed.
    pub(crate) fn with<R>(
        latest: &'static LocalKey<RefCell<Self>>,
        value: &[u8],
        compute: impl FnOnce(&[u8]) -> T,
        user: impl FnOnce(&T) -> R,
    ) -> R {
        if value.len() > LONGEST {
            return user(&compute(value));
        }
        latest.with_borrow_mut(|Self(latest)| {
            let at = latest.iter().position(|(of, _)| **of == *value).unwrap_or_else(|| {
                if latest.len() == REMEMBERED {
                    latest.remove(0);
                }
                latest.push((value.into(), compute(value)));
                latest.len() - 1
            });
            user(&latest[at].1)
        })
    }
}
