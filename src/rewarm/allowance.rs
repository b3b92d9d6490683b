//! How often one request is repeated.

use std::time::Duration;

use tokio::time::Instant;

/// How many times in a row a request is repeated, and how often after that.
const IN_A_ROW: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// What is left of the repeats of one request: ten in a row, and one more each second. It bounds the work for pages whose handlers make
/// invalidations, in tasks of their own, that remove each other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    /// When all repeats are left again; `None` if they are.
    full_at: Option<Instant>,
}

impl Allowance {
    /// Takes one repeat; the error is the time from which one is left.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        match full_at.duration_since(now).checked_sub((IN_A_ROW - 1) * PERIOD) {
            Some(wait) if !wait.is_zero() => Err(now + wait),
            _ => {
                self.full_at = Some(full_at + PERIOD);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ten_in_a_row_and_then_one_a_second() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        for _ in 0..IN_A_ROW {
            assert_eq!(allowance.take(start), Ok(()));
        }
        assert_eq!(allowance.take(start), Err(start + PERIOD));
        assert_eq!(allowance.take(start + PERIOD / 2), Err(start + PERIOD));
        assert_eq!(allowance.take(start + PERIOD), Ok(()));
        assert_eq!(allowance.take(start + PERIOD), Err(start + 2 * PERIOD));
        let later = start + 60 * PERIOD;
        assert!((0..IN_A_ROW).all(|_| allowance.take(later).is_ok()) && allowance.take(later).is_err());
    }
}
