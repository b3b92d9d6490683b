//! The settings of a Redis store.

use std::time::Duration;

use super::*;
use crate::backend::url::settings::unchanged;

fn by_url(query: &str) -> Result<RedisBuilder, Error> {
    let mut builder = Redis::builder();
    let url = format!("redis://host?{query}");
    let (_, mut options) = UrlOptions::split(&url)?;
    builder.read_url(&mut options)?;
    options.finish()?;
    Ok(builder)
}

#[cfg(all(feature = "redis-tls", feature = "zstd"))]
#[test]
fn every_setter_has_an_option_in_the_url() {
    let pem = std::env::temp_dir().join(format!("larder-option-{}.pem", std::process::id()));
    std::fs::write(&pem, "PEM").unwrap();
    let query = "key_prefix=shop&read_timeout=1ms&store_timeout=2s&invalidate_timeout=3m&connect_timeout=4h&failures=6&max_owed_tags=9&compress_from=7kb\
                 &durability=8&root_certificates=";
    let by_url = by_url(&format!("{query}{}", pem.display())).unwrap();
    std::fs::remove_file(&pem).unwrap();
    let by_setters = Redis::builder()
        .key_prefix("shop")
        .read_timeout(Duration::from_millis(1))
        .store_timeout(Duration::from_secs(2))
        .invalidate_timeout(Duration::from_secs(180))
        .connect_timeout(Duration::from_secs(4 * 3600))
        .failures(6)
        .max_owed_tags(9)
        .compress_from(Some(7 << 10))
        .durability(8)
        .root_certificates("PEM");
    assert_eq!(format!("{by_url:#?}"), format!("{by_setters:#?}"));
    // A new setting has to be added above, or to those that no setter sets.
    assert_eq!(
        unchanged(&format!("{:#?}", RedisBuilder { replicas: Some(0), ..Redis::builder() }), &format!("{by_url:#?}")),
        ["first_pause: 50ms,", "longest_pause: 1s,", "level: 1,"]
    );
}

#[test]
fn options_have_the_bounds_of_their_setters() {
    let builder = by_url("failures=1&durability=0").unwrap();
    assert_eq!((builder.remote.timeouts.failures, builder.replicas), (1, None));
    #[cfg(feature = "zstd")]
    assert_eq!(by_url("compress_from=off").unwrap().remote.compression.threshold, None);
}
