//! Entries that this node has decoded recently.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

use super::shared_read::DecodedEntry;
use crate::{
    codec::{self, DecodeError, DecodeLimits, Head},
    key::Key,
    tag::Tag,
};

/// Decodes entries, and remembers small ones with the bytes that they were decoded from, so that an entry that is read again and again is
/// decoded once.
///
/// It answers nothing by itself: the caller has just read the bytes from the store, and equal bytes are decoded to equal entries.
///
/// Each entry has one slot, chosen by its hash, and replaces the previous entry of that slot.
#[derive(Debug)]
pub(crate) struct DecodedEntries {
    slots: Box<[Mutex<Option<Remembered>>]>,
    /// The approximate size of all that is remembered, in bytes.
    held: AtomicUsize,
}

#[derive(Debug)]
struct Remembered {
    key: Key,
    bytes: Bytes,
    entry: DecodedEntry,
    size: usize,
}

/// The number of slots: with 1,000 keys, 88 % of random hits find their entry here.
const SLOTS: usize = 1 << 12;

/// The largest entry that is remembered, in bytes. Comparing the bytes of a larger one takes about as long as decoding them.
const LARGEST: usize = 8 << 10;

/// How many bytes are remembered at most.
const MOST: usize = 8 << 20;

impl Default for DecodedEntries {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect(), held: AtomicUsize::new(0) }
    }
}

impl DecodedEntries {
    /// Returns the entry that `bytes` encode; `tags` are those that it may have.
    pub(crate) fn decode(
        &self,
        key: &Key,
        tags: &[Tag],
        bytes: &Bytes,
        limits: DecodeLimits,
    ) -> Result<DecodedEntry, DecodeError> {
        if bytes.len() > LARGEST {
            return decode(key, tags, bytes, limits);
        }
        let digest = key.digest();
        if let Some(known) = &*self.slot(digest)
            && known.bytes == *bytes
            && known.key == *key
        {
            return Ok(known.entry.clone());
        }
        // A slice would keep the whole buffer, with the replies to other reads.
        let bytes = Bytes::copy_from_slice(bytes);
        let entry = decode(key, tags, &bytes, limits)?;
        self.remember(digest, key, bytes, &entry);
        Ok(entry)
    }

    fn remember(&self, digest: u64, key: &Key, bytes: Bytes, entry: &DecodedEntry) {
        let size = size_of::<Remembered>() + bytes.len() + entry.stored.weight();
        let mut slot = self.slot(digest);
        if let Some(replaced) = slot.take() {
            self.held.fetch_sub(replaced.size, Ordering::Relaxed);
        }
        // A compressed entry may be large once it is decoded.
        if size <= 4 * LARGEST && self.held.load(Ordering::Relaxed) + size <= MOST {
            self.held.fetch_add(size, Ordering::Relaxed);
            *slot = Some(Remembered { key: key.clone(), bytes, entry: entry.clone(), size });
        }
    }

    fn slot(&self, digest: u64) -> MutexGuard<'_, Option<Remembered>> {
        let slot = usize::try_from(digest % SLOTS as u64).expect("less than the length of a slice");
        self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decodes an entry that a store has sent.
fn decode(key: &Key, tags: &[Tag], bytes: &Bytes, limits: DecodeLimits) -> Result<DecodedEntry, DecodeError> {
    let (head, body) = Head::split_with_hint(bytes, tags)?;
    let id = head.id;
    Ok(DecodedEntry { stored: Arc::new(codec::decode(key, head, &bytes.slice_ref(body), limits)?), id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{
        epoch::Epoch,
        stored::{Content, Stored},
    };

    fn key(number: usize) -> Key {
        Key::from_bytes(&number.to_le_bytes())
    }

    /// An entry of about `size` bytes.
    fn encoded(key: &Key, born: u64, size: usize) -> Bytes {
        let tags = (0..size / 100).map(|number| Tag::new(format!("{number:0>100}")).unwrap()).collect();
        Stored::new(Epoch::new(born), tags, Content::Tombstone).to_bytes(key).unwrap().into()
    }

    fn read(entries: &DecodedEntries, key: &Key, bytes: &Bytes) -> Result<DecodedEntry, DecodeError> {
        entries.decode(key, &[], bytes, DecodeLimits::default())
    }

    #[test]
    fn equal_bytes_are_decoded_once() {
        let (entries, bytes) = (DecodedEntries::default(), encoded(&key(1), 7, 0));
        let first = read(&entries, &key(1), &bytes).unwrap();
        let again = read(&entries, &key(1), &Bytes::copy_from_slice(&bytes)).unwrap();
        assert!(Arc::ptr_eq(&first.stored, &again.stored));
        assert_eq!(first.id, again.id);
    }

    #[test]
    fn other_bytes_and_other_keys_are_decoded_for_themselves() {
        let entries = DecodedEntries::default();
        let (old, new) = (encoded(&key(1), 7, 0), encoded(&key(1), 8, 0));
        for (bytes, born) in [(&old, 7), (&new, 8), (&old, 7)] {
            assert_eq!(read(&entries, &key(1), bytes).unwrap().stored.born(), Epoch::new(born));
        }
        // The slot of every other key is tried, too: the bytes belong to one key.
        for other in 2..SLOTS * 4 {
            assert!(read(&entries, &key(other), &old).is_err(), "{other}");
        }
        let mut damaged = old.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(read(&entries, &key(1), &damaged.into()).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let entries = DecodedEntries::default();
        for number in 0..3 * SLOTS {
            read(&entries, &key(number), &encoded(&key(number), 7, 6000)).unwrap();
            assert!(entries.held.load(Ordering::Relaxed) <= MOST);
        }
        let held = |entries: &DecodedEntries| -> usize {
            entries.slots.iter().map(|slot| slot.lock().unwrap().as_ref().map_or(0, |remembered| remembered.size)).sum()
        };
        assert_eq!(held(&entries), entries.held.load(Ordering::Relaxed));
        assert!(held(&entries) > MOST / 2);
        let large = encoded(&key(0), 7, 2 * LARGEST);
        let again = || read(&entries, &key(0), &large).unwrap().stored;
        assert!(!Arc::ptr_eq(&again(), &again()), "larger than what is remembered");
    }
}
