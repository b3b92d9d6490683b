//! The form in which entries leave the process: what it costs to write one, and to read one, as every hit on a remote store does.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use larder::backend::{Key, Stored};
use larder_benches::{KIB, MIB, stored};

const SIZES: [(&str, usize); 3] = [("1k", KIB), ("64k", 64 * KIB), ("1m", MIB)];

fn codec(c: &mut Criterion) {
    for (name, size) in SIZES {
        let (key, stored) = stored(size, None);
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

criterion_group!(benches, codec);
criterion_main!(benches);
