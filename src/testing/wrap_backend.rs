//! The methods of `Backend` that all wrappers for tests hand on as they are.

/// Implements `Backend` for a type that wraps the backend in its field `inner`. The methods in braces are those that a wrapper watches or
/// changes; a method of `Backend` that is in neither list fails the build.
macro_rules! wrap_backend {
    ($wrapper:ident { $($methods:tt)* }) => {
        #[::async_trait::async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<B: $crate::backend::Backend + ?Sized> $crate::backend::Backend for $wrapper<B> {
            $($methods)*

            fn copy_in_outage(&self, key: &$crate::key::Key) -> Option<::std::sync::Arc<$crate::backend::Stored>> {
                self.inner.copy_in_outage(key)
            }

            fn reads_are_exact(&self) -> bool {
                self.inner.reads_are_exact()
            }

            fn lookup_limit(&self) -> Option<::std::time::Duration> {
                self.inner.lookup_limit()
            }

            fn use_clock(&self, clock: &$crate::clock::Clock) {
                self.inner.use_clock(clock);
            }

            fn owed(&self) -> usize {
                self.inner.owed()
            }

            async fn lock_fetch(
                &self,
                key: &$crate::key::Key,
                life: ::std::time::Duration,
            ) -> Result<$crate::backend::FetchLock, $crate::error::Error> {
                self.inner.lock_fetch(key, life).await
            }

            async fn unlock_fetch(&self, key: &$crate::key::Key) {
                self.inner.unlock_fetch(key).await;
            }

            fn shared_mode(&self) -> $crate::CacheMode {
                self.inner.shared_mode()
            }

            async fn set_shared_mode(
                &self,
                mode: $crate::CacheMode,
            ) -> Result<$crate::backend::Scope, $crate::error::Error> {
                self.inner.set_shared_mode(mode).await
            }

            fn stats(&self) -> Vec<$crate::backend::StoreStats> {
                self.inner.stats()
            }

            async fn install_function(&self) -> Result<(), $crate::error::Error> {
                self.inner.install_function().await
            }
        }
    };
}
pub(super) use wrap_backend;
