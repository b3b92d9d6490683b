//! Every interleaving, and every order of memory that the language allows, of the table that decides what may be used:
//! after an invalidation has returned, nothing that it named is usable.
//!
//! It is the real file that runs, on loom's locks and atomics; `build.rs` writes copies with one slip each, and the last
//! tests show that these models notice every one of them.
//!
//! Models of two threads are explored in full; those of three up to a number of preemptions. `LARDER_SOAK=1` lifts that
//! bound too, for ten minutes each: `LARDER_SOAK=1 cargo test -p larder-model --release`.

#![allow(clippy::unwrap_used, reason = "a thread that panics has failed its model")]

mod explore;

mod sync {
    pub(super) use loom::sync::{
        Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    };
}

mod clock {
    pub(crate) use larder::backend::Timestamp;
}

mod entry {
    pub(crate) mod epoch {
        pub(crate) use larder::backend::Epoch;
    }
}

mod backend {
    pub(crate) use crate::{expiries, tag_record, validity};
}

#[path = "../../../src/backend/expiries.rs"]
#[allow(dead_code, reason = "the models need not call everything")]
mod expiries;

#[path = "../../../src/backend/tag_record.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model need not call everything")]
mod tag_record;

#[path = "../../../src/backend/validity.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model need not call everything")]
mod validity;

#[path = "../../../src/backend/memory/tag_counts.rs"]
#[allow(dead_code, reason = "the models need not call everything")]
mod tag_counts;

#[path = "../../../src/backend/memory/tag_table.rs"]
#[allow(dead_code, reason = "the models need not call everything")]
mod tag_table;

use explore::{ALL, FEW, SOME, explore};
use larder::backend::Timestamp;
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};
use tag_counts::TagCounts;

/// When tags expire.
const NOON: Timestamp = Timestamp::from_millis(43_200_000);

/// A tag of the entry in question, by its hash: each differs from the others in the half by which entries are counted.
const POST: u64 = 1 << 32;
/// Another tag of it.
const POSTS: u64 = 2 << 32;
/// A tag that it does not have.
const OTHER: u64 = 3 << 32;

/// What to invalidate.
#[derive(Debug, Clone, Copy)]
enum What {
    Tag(u64),
    TagSoftly(u64),
    Everything,
}

impl What {
    fn concerns_the_entry(self) -> bool {
        match self {
            Self::Tag(tag) | Self::TagSoftly(tag) => Entry::TAGS.contains(&tag),
            Self::Everything => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Alive,
    Stale,
    Dead,
}

impl From<Option<validity::Validity>> for Judged {
    fn from(validity: Option<validity::Validity>) -> Self {
        match validity {
            Some(validity::Validity::Valid) => Self::Alive,
            Some(validity::Validity::Stale { .. }) => Self::Stale,
            None => Self::Dead,
        }
    }
}

/// The table, or a copy of it with a slip.
trait Table: Send + Sync + 'static {
    fn new(capacity: usize, counts: std::sync::Arc<TagCounts>) -> Self;
    fn epoch(&self) -> u64;
    fn judge(&self, born: u64, tags: &[u64]) -> Judged;
    fn judge_fetched(&self, born: u64, tags: &[u64]) -> Judged;
    fn invalidate(&self, what: What);
    fn len(&self) -> usize;
}

macro_rules! tables {
    ($($table:ident),+) => {
        $(impl Table for $table::TagTable {
            fn new(capacity: usize, counts: std::sync::Arc<TagCounts>) -> Self {
                Self::new(capacity, 1, counts)
            }

            fn epoch(&self) -> u64 {
                self.epoch()
            }

            fn judge(&self, born: u64, tags: &[u64]) -> Judged {
                self.validity(born, tags.iter().copied()).into()
            }

            fn judge_fetched(&self, born: u64, tags: &[u64]) -> Judged {
                self.validity_to_store(born, tags.iter().copied()).into()
            }

            fn invalidate(&self, what: What) {
                match what {
                    What::Tag(tag) => self.invalidate(&[tag], validity::Strength::Hard),
                    What::TagSoftly(tag) => self.invalidate(&[tag], validity::Strength::Soft { at: NOON }),
                    What::Everything => self.invalidate_everything(),
                };
            }

            fn len(&self) -> usize {
                self.len()
            }
        })+
    };
}

tables!(tag_table);

/// An entry as `Memory` keeps it.
struct Entry {
    born: u64,
    validated_at: AtomicU64,
}

impl Entry {
    const TAGS: [u64; 2] = [POST, POSTS];

    fn born_at(born: u64) -> Self {
        Self { born, validated_at: AtomicU64::new(0) }
    }

    /// `Memory::read` and `Memory::revalidate`, step by step: whether the entry counts as if nothing concerned it.
    fn is_current(&self, table: &impl Table) -> bool {
        let epoch = table.epoch();
        if self.validated_at.load(Ordering::Relaxed) == epoch {
            return true;
        }
        let alive = table.judge(self.born, &Self::TAGS) == Judged::Alive;
        if alive {
            self.validated_at.store(epoch, Ordering::Relaxed);
        }
        alive
    }
}

/// A table, an entry that is as old as the table, and whether an invalidation of it has returned.
struct Scene<T> {
    table: T,
    entry: Entry,
    returned: AtomicBool,
}

impl<T: Table> Scene<T> {
    /// A stored entry carries each of the tags.
    fn new(capacity: usize) -> Arc<Self> {
        let counts = TagCounts::new(1);
        counts.add([POST, POSTS, OTHER].into_iter());
        let table = T::new(capacity, std::sync::Arc::new(counts));
        let entry = Entry::born_at(table.epoch());
        Arc::new(Self { table, entry, returned: AtomicBool::new(false) })
    }

    /// Invalidates, and lets everyone know that it has returned.
    fn write(&self, what: What) {
        self.table.invalidate(what);
        if what.concerns_the_entry() {
            self.returned.store(true, Ordering::Release);
        }
    }

    /// Reads once, as a request that begins now.
    fn read(&self) {
        let returned = self.returned.load(Ordering::Acquire);
        let current = self.entry.is_current(&self.table);
        assert!(!(current && returned), "served after its invalidation had returned");
    }
}

/// One reader, twice, and one invalidation.
fn reader_and_invalidation<T: Table>(what: What) {
    explore(ALL, move || {
        let scene = Scene::<T>::new(8);
        let writer = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.write(what)
        });
        scene.read();
        scene.read();
        writer.join().unwrap();
        scene.read();
    });
}

/// One reader and two invalidations at a time.
fn reader_and_two_invalidations<T: Table>(first: What, second: What) {
    explore(SOME, move || {
        let scene = Scene::<T>::new(8);
        let writers = [first, second].map(|what| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.write(what))
        });
        scene.read();
        scene.read();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        scene.read();
    });
}

/// Two readers share what one of them notes on the entry.
fn two_readers_and_invalidation<T: Table>(what: What) {
    explore(FEW, move || {
        let scene = Scene::<T>::new(8);
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                scene.read();
                scene.read();
            }
        });
        let writer = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.write(what)
        });
        scene.read();
        scene.read();
        reader.join().unwrap();
        writer.join().unwrap();
        scene.read();
    });
}

/// The record that concerns the entry is dropped to make room while a reader looks.
fn reader_and_eviction<T: Table>(first: What) {
    explore(ALL, move || {
        let scene = Scene::<T>::new(1);
        scene.write(first);
        let writer = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.write(What::Tag(OTHER))
        });
        scene.read();
        scene.read();
        writer.join().unwrap();
        scene.read();
        assert_eq!(scene.table.len(), 1);
    });
}

/// Both happen while a reader looks: the invalidation that concerns the entry, and the one that drops its record.
fn reader_invalidation_and_eviction<T: Table>(first: What) {
    explore(ALL, move || {
        let scene = Scene::<T>::new(1);
        let writer = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                scene.write(first);
                scene.write(What::Tag(OTHER));
            }
        });
        scene.read();
        scene.read();
        writer.join().unwrap();
        scene.read();
    });
}

/// The whole promise: a fetch reads data while a writer changes it, and stores what it made of it at any time.
fn fetch_and_write<T: Table>(what: What) {
    explore(ALL, move || {
        let scene = Scene::<T>::new(8);
        let data = Arc::new(AtomicU64::new(0));
        let writer = thread::spawn({
            let (scene, data) = (Arc::clone(&scene), Arc::clone(&data));
            move || {
                data.store(1, Ordering::Relaxed);
                scene.write(what);
            }
        });
        // The fetch: the epoch before the handler, the data in it, the entry after it.
        let entry = Entry::born_at(scene.table.epoch());
        let copied = data.load(Ordering::Relaxed);
        for _ in 0..2 {
            let returned = scene.returned.load(Ordering::Acquire);
            let current = entry.is_current(&scene.table);
            assert!(!(current && returned && copied == 0), "served old data after the invalidation had returned");
        }
        writer.join().unwrap();
        let fresh = Entry::born_at(scene.table.epoch());
        assert!(fresh.is_current(&scene.table), "what began after the invalidation is dead");
        assert!(!entry.is_current(&scene.table) || copied == 1, "served old data after the invalidation had returned");
    });
}

/// An entry is stored while its tag is invalidated, and while the record of that might be dropped: no stored entry carries either tag.
fn store_and_eviction<T: Table>(what: What) {
    explore(SOME, move || {
        let counts = std::sync::Arc::new(TagCounts::new(1));
        let table = Arc::new(T::new(1, std::sync::Arc::clone(&counts)));
        let returned = Arc::new(AtomicBool::new(false));
        let entry = Entry::born_at(table.epoch());
        let writer = thread::spawn({
            let (table, returned) = (Arc::clone(&table), Arc::clone(&returned));
            move || {
                table.invalidate(what);
                returned.store(true, Ordering::Release);
                table.invalidate(What::Tag(OTHER));
            }
        });
        // `Memory::store`, step by step.
        counts.add(Entry::TAGS.into_iter());
        let is_stored = table.judge_fetched(entry.born, &Entry::TAGS) != Judged::Dead;
        let returned = returned.load(Ordering::Acquire);
        let current = is_stored && entry.is_current(&*table);
        assert!(!(current && returned), "served after its invalidation had returned");
        writer.join().unwrap();
        assert!(!(is_stored && entry.is_current(&*table)), "served after its invalidation had returned");
    });
}

/// However many tags are invalidated that no stored entry carries: what is stored stays.
fn foreign_invalidations_beyond_the_capacity<T: Table>() {
    explore(ALL, || {
        let counts = std::sync::Arc::new(TagCounts::new(1));
        counts.add(Entry::TAGS.into_iter());
        let table = Arc::new(T::new(1, counts));
        let entry = Entry::born_at(table.epoch());
        let writer = thread::spawn({
            let table = Arc::clone(&table);
            move || (0..3).for_each(|number| table.invalidate(What::Tag(OTHER + (number << 32))))
        });
        assert!(entry.is_current(&*table));
        writer.join().unwrap();
        assert!(entry.is_current(&*table));
        assert_eq!(table.len(), 1);
        assert_eq!(table.judge_fetched(entry.born, &Entry::TAGS), Judged::Dead, "what was fetched at that time is in doubt");
    });
}

/// An invalidation of something else; there is room for its record.
fn reader_and_foreign_invalidation<T: Table>() {
    explore(ALL, || {
        let scene = Scene::<T>::new(1);
        let writer = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.write(What::Tag(OTHER))
        });
        assert!(scene.entry.is_current(&scene.table));
        writer.join().unwrap();
        assert!(scene.entry.is_current(&scene.table));
        assert_eq!(scene.table.judge(scene.entry.born, &[OTHER]), Judged::Dead);
    });
}

type Real = tag_table::TagTable;

#[test]
fn nothing_is_current_after_its_tag_was_invalidated() {
    reader_and_invalidation::<Real>(What::Tag(POST));
}

#[test]
fn nothing_is_current_after_its_tag_was_expired() {
    reader_and_invalidation::<Real>(What::TagSoftly(POSTS));
}

#[test]
fn nothing_is_current_after_everything_was_invalidated() {
    reader_and_invalidation::<Real>(What::Everything);
}

#[test]
fn what_one_reader_notes_never_misleads_another() {
    two_readers_and_invalidation::<Real>(What::Tag(POST));
    two_readers_and_invalidation::<Real>(What::Everything);
}

#[test]
fn two_invalidations_of_one_tag_both_hold() {
    reader_and_two_invalidations::<Real>(What::Tag(POST), What::Tag(POST));
    reader_and_two_invalidations::<Real>(What::Tag(POST), What::TagSoftly(POST));
}

#[test]
fn two_invalidations_of_different_tags_both_hold() {
    reader_and_two_invalidations::<Real>(What::Tag(POST), What::Tag(POSTS));
    reader_and_two_invalidations::<Real>(What::Tag(POST), What::Tag(OTHER));
    reader_and_two_invalidations::<Real>(What::TagSoftly(POST), What::Everything);
}

#[test]
fn a_dropped_record_kills_what_it_concerned() {
    reader_and_eviction::<Real>(What::Tag(POST));
    reader_and_eviction::<Real>(What::TagSoftly(POST));
    reader_invalidation_and_eviction::<Real>(What::Tag(POST));
    reader_invalidation_and_eviction::<Real>(What::TagSoftly(POST));
}

#[test]
fn a_fetch_that_read_old_data_is_dead_on_arrival() {
    fetch_and_write::<Real>(What::Tag(POST));
    fetch_and_write::<Real>(What::TagSoftly(POST));
    fetch_and_write::<Real>(What::Everything);
}

#[test]
fn an_entry_that_is_stored_during_its_invalidation_is_not_served() {
    store_and_eviction::<Real>(What::Tag(POST));
    store_and_eviction::<Real>(What::TagSoftly(POST));
}

#[test]
fn invalidations_of_what_is_not_stored_drop_nothing() {
    foreign_invalidations_beyond_the_capacity::<Real>();
}

#[test]
fn only_what_an_invalidation_names_is_concerned() {
    reader_and_foreign_invalidation::<Real>();
}

/// The copies with a slip, each with a model that must notice it.
mod slips {
    use super::{What::*, *};

    macro_rules! slips {
        ($($slip:ident: $model:ident($($what:expr),+);)+) => {
            mod tables {
                use super::super::{sync, tag_counts};

                $(
                    #[allow(dead_code, reason = "the models need not call everything")]
                    pub(super) mod $slip {
                        include!(concat!(env!("OUT_DIR"), "/", stringify!($slip), ".rs"));
                    }
                )+
            }

            use tables::{$($slip),+};

            tables!($($slip),+);

            $(
                #[test]
                #[should_panic(expected = "served")]
                fn $slip() {
                    $model::<$slip::TagTable>($($what),+);
                }
            )+
        };
    }

    slips! {
        published_before_recorded: reader_and_invalidation(Tag(POST));
        dropped_before_the_floor_is_raised: reader_and_eviction(Tag(POST));
        dropped_without_its_expiries: reader_and_eviction(TagSoftly(POST));
        floor_read_before_the_tags: reader_and_eviction(Tag(POST));
        published_without_release: reader_and_invalidation(Everything);
        epoch_read_without_acquire: reader_and_invalidation(Everything);
        epoch_taken_outside_the_lock: reader_and_two_invalidations(Tag(POST), Tag(OTHER));
        counts_read_before_recorded: store_and_eviction(TagSoftly(POST));
        records_of_fetched_not_kept: store_and_eviction(TagSoftly(POST));
        fetch_floor_not_raised: store_and_eviction(Tag(POST));
    }
}
