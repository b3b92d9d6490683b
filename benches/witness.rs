use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use larder::{
    Cache, Error, Memory, Receipt,
    backend::{Backend, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag},
};
use tower::Layer as _;

use crate::{HOUR, Handler, MIB, Requests, ask, runtime};

type Entry = (Key, Arc<Stored>);

/// What is stored for a response with six fields and a body of `size`, with two tags and those of its target.
///
/// # Panics
/// If it is not stored.
pub fn stored(size: usize, secret: Option<&str>) -> Entry {
    let runtime = runtime();
    let _entered = runtime.enter();
    let witness = Witness { memory: Arc::new(Memory::new(4 * MIB as u64)), last: Arc::default() };
    let cache = Cache::new(witness.clone());
    let cache = secret.map_or(cache.clone(), |secret| cache.with_secret(secret));
    let layer = cache.layer().ttl(HOUR).max_body(MIB as u64).tags(["tag-0", "tag-1"]);
    ask(&mut layer.layer(Handler::new(size)), Requests::for_one().get(0));
    witness.last.lock().expect("no thread panicked").take().expect("it was stored")
}

/// Sees what is stored.
#[derive(Debug, Clone)]
struct Witness {
    memory: Arc<Memory>,
    last: Arc<Mutex<Option<Entry>>>,
}

#[async_trait]
impl Backend for Witness {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.memory.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        *self.last.lock().expect("no thread panicked") = Some((key.clone(), Arc::clone(&stored)));
        self.memory.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.memory.invalidate(invalidation).await
    }
}
