//! The form in which entries leave the process: what it costs to write one, and to read one, as every hit on a remote store does.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use larder::{
    Backend, Cache, Epoch, Error, Key, Memory, Receipt, Stored, Tag,
    backend::{Invalidation, Put, Read},
};
use larder_benches::{HOUR, Handler, KIB, MIB, Requests, ask, runtime};
use tower::Layer as _;

const SIZES: [(&str, usize); 3] = [("1k", KIB), ("64k", 64 * KIB), ("1m", MIB)];

fn codec(c: &mut Criterion) {
    for (name, size) in SIZES {
        let (key, stored) = entry(size);
        let bytes = stored.to_bytes(&key).expect("a small entry");
        let group = &mut c.benchmark_group("codec");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("encode-{name}"), |b| b.iter(|| stored.to_bytes(black_box(&key))));
        group.bench_function(format!("decode-{name}"), |b| {
            b.iter_batched(|| bytes.clone(), |bytes| read(&key, bytes), BatchSize::SmallInput);
        });
    }
}

/// From the store's reply to the entry, and to its end.
fn read(key: &Key, bytes: Vec<u8>) -> usize {
    Stored::from_bytes(black_box(key), Bytes::from(bytes)).expect("it was written so").weight()
}

/// What is stored for a response with six fields and a body of `size`, with two tags and those of its target.
fn entry(size: usize) -> (Key, Arc<Stored>) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let witness = Witness { memory: Arc::new(Memory::new(4 * MIB as u64)), last: Arc::default() };
    let layer = Cache::new(witness.clone()).layer().ttl(HOUR).max_body(MIB as u64).tags(["tag-0", "tag-1"]);
    ask(&mut layer.layer(Handler::new(size)), Requests::for_one().get(0));
    witness.last.lock().expect("nobody panicked").take().expect("it was stored")
}

/// Sees what is stored.
#[derive(Debug, Clone)]
struct Witness {
    memory: Arc<Memory>,
    last: Arc<Mutex<Option<(Key, Arc<Stored>)>>>,
}

#[async_trait]
impl Backend for Witness {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<Read, Error> {
        self.memory.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<Put, Error> {
        *self.last.lock().expect("nobody panicked") = Some((key.clone(), Arc::clone(&stored)));
        self.memory.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.memory.invalidate(invalidation).await
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
