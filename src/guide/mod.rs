//! The guide: from the first layer to a cluster of nodes, one module for each chapter.
//!
//! The same files make a book with [mdBook](https://rust-lang.github.io/mdBook/): `mdbook serve docs`. Begin with
//! [the introduction](introduction), or, with a minute to spare, with [sixty seconds](sixty_seconds).

/// The definitions of `guide_chapters.md` and `guide_items.md` come before a chapter's own, and so take precedence over them: here, a link to
/// a chapter is a link to its module, and one to an item is checked by rustdoc. A test writes both files. Only rustdoc reads the chapters, so
/// that a changed word recompiles nothing.
macro_rules! chapters {
    ($($chapter:ident)+) => {$(
        #[cfg_attr(not(any(doc, doctest)), doc = "A chapter of the guide.")]
        #[cfg_attr(any(doc, doctest), doc = include_str!("../docs/guide_chapters.md"))]
        #[cfg_attr(
            all(
                any(doc, doctest), feature = "admin", feature = "axum", feature = "compression", feature = "conformance",
                feature = "memcached", feature = "memory-quick", feature = "metrics", feature = "otel", feature = "redis",
                feature = "typed-tags", feature = "values",
            ),
            doc = include_str!("../docs/guide_items.md")
        )]
        #[cfg_attr(any(doc, doctest), doc = include_str!(concat!("../../docs/guide/", stringify!($chapter), ".md")))]
        pub mod $chapter {}
    )+};
}

chapters! {
    introduction
    sixty_seconds
    step_by_step
    decision
    promise
    invalidation
    recipes
    outbox
    sessions
    behind_a_proxy
    placement
    queries_and_posts
    staleness
    values
    warming
    stores
    fits
    operations
    security
    testing
    coming_from
    from_django
    from_aspnet
    from_laravel
    from_varnish
    from_nginx
    from_tower_http_cache
    comparison
    reasons
    limits
    versions
}
