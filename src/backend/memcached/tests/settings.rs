//! The settings of a store on memcached servers.

#[cfg(feature = "zstd")]
#[test]
fn every_setter_has_an_option_in_the_url() {
    use std::time::Duration;

    use crate::{
        Memcached,
        backend::url::{options::UrlOptions, settings::unchanged},
    };

    let url = "memcached://host?key_prefix=shop&read_timeout=1ms&store_timeout=2s&invalidate_timeout=3m&connect_timeout=4h&failures=6&max_owed_tags=9\
               &compress_from=off&max_value=8mb";
    let mut by_url = Memcached::builder();
    let (_, mut options) = UrlOptions::split(url).unwrap();
    by_url.read_url(&mut options).unwrap();
    options.finish().unwrap();
    let builder = Memcached::builder().compress_from(Some(0));
    let by_setters = builder
        .key_prefix("shop")
        .read_timeout(Duration::from_millis(1))
        .store_timeout(Duration::from_secs(2))
        .invalidate_timeout(Duration::from_secs(180))
        .connect_timeout(Duration::from_secs(4 * 3600))
        .failures(6)
        .max_owed_tags(9)
        .compress_from(None)
        .max_value(8 << 20);
    assert_eq!(format!("{by_url:#?}"), format!("{by_setters:#?}"));
    // A new setting has to be added above, or to those that no setter sets.
    let default = format!("{:#?}", Memcached::builder().compress_from(None));
    assert_eq!(
        unchanged(&default, &format!("{by_url:#?}")),
        ["first_pause: 50ms,", "longest_pause: 1s,", "threshold: None,", "level: 1,"]
    );
}
