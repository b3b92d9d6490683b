//! Invalidating a tag takes the same time however many entries carry it.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use larder::Cache;
use larder_benches::{HOUR, Handler, MIB, Requests, ask, now, time_here};
use tower::Layer as _;

const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];

fn invalidate(c: &mut Criterion) {
    let group = &mut c.benchmark_group("invalidate");
    group.sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let cache = Cache::in_memory(4096 * MIB as u64);
    let requests = Requests::for_one();
    let mut next = 0..;
    for size in SIZES {
        let mut service = cache.layer().ttl(HOUR).tags([size.to_string()]).layer(Handler::new(8));
        next.by_ref().take(size).for_each(|number| _ = ask(&mut service, requests.fresh(number)));
    }
    for size in SIZES {
        let tag = &size.to_string();
        let first = time_here(1, |_| (), |()| invalidated(&cache, tag));
        println!("invalidate/{size}: the first took {first:?}");
        group.bench_function(tag, |b| b.iter(|| invalidated(&cache, tag)));
    }
    // The table of tags is full by then: to remember one, it has to give one up.
    let tags: Vec<String> = (0..100_000).map(|tag| format!("tag-{tag}")).collect();
    tags.iter().for_each(|tag| _ = invalidated(&cache, tag));
    let mut tags = tags.iter().cycle();
    group.bench_function("new-tag", |b| b.iter(|| tags.next().map(|tag| invalidated(&cache, tag))));
}

fn invalidated(cache: &Cache, tag: &str) -> larder::Receipt {
    now(cache.invalidate_tags([tag])).expect("memory never fails")
}

criterion_group!(benches, invalidate);
criterion_main!(benches);
