//! A store in which an invalidation takes its epoch before it writes its records, as Redis Cluster and memcached do.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use larder::{
    Cache, Error, Memory, Receipt,
    backend::{Backend, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag, async_trait},
};

use super::{page_of_top, policy, top};
use crate::support::{Runs, get, minute};

/// Memory, and the number of epochs that invalidations have taken whose records are not written yet.
#[derive(Debug)]
struct InTwoSteps {
    memory: Memory,
    taken: AtomicU64,
    claims_to_be_exact: bool,
}

impl InTwoSteps {
    fn read(&self, mut read: ReadOutcome) -> ReadOutcome {
        let taken = self.taken.load(Ordering::SeqCst);
        read.epoch = read.epoch.map(|epoch| Epoch::new(epoch.get() + taken));
        read
    }
}

#[async_trait]
impl Backend for InTwoSteps {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        self.memory.get_now(key).map(|read| self.read(read))
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.memory.get(key, known).await.map(|read| self.read(read))
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.memory.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    /// Writes the records, with the epoch that was taken.
    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.taken.store(0, Ordering::SeqCst);
        self.memory.invalidate(invalidation).await
    }

    fn reads_are_exact(&self) -> bool {
        self.claims_to_be_exact
    }
}

/// Makes a page of a stored value while an invalidation of its tag is between its two steps; returns whether the page outlives it.
async fn page_outlives_its_value(claims_to_be_exact: bool) -> bool {
    let store = Arc::new(InTwoSteps { memory: Memory::new(1 << 20), taken: AtomicU64::new(0), claims_to_be_exact });
    let cache = Cache::from_arc(Arc::clone(&store) as Arc<dyn Backend>);
    let runs = Runs::default();
    let app = page_of_top(minute(&cache), &cache, policy(), &runs);
    top(&cache, &policy(), &runs).await;
    store.taken.store(1, Ordering::SeqCst);
    assert_eq!(get(&app, "/page").await.text(), "top 1");
    cache.invalidate_tags("posts").await.unwrap();
    assert_eq!(top(&cache, &policy(), &runs).await, 2, "the value itself is dead in any case");
    get(&app, "/page").await.text() == "top 1"
}

#[tokio::test]
async fn a_page_does_not_outlive_a_value_in_it_whose_invalidation_was_under_way() {
    assert!(!page_outlives_its_value(false).await);
    // What the answer is for: a store that gives the wrong one breaks the promise.
    assert!(page_outlives_its_value(true).await);
}
