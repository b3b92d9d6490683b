//! A request that can be sent again, whatever the service that it is sent to.

use std::{pin::Pin, sync::Arc};

use http::HeaderName;

use crate::key::Key;

/// A request that can be sent again.
pub(crate) trait Repeat: Send + Sync {
    /// Sends it, unless a fresh response is stored.
    fn repeat(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A request whose response is not there yet.
pub(crate) trait Repeatable: Send + Sync {
    /// Reduces it to what selects its response: its key, and these fields; `None` if other fields are in the key.
    fn reduced(&self, selecting: &[HeaderName], key: &Key) -> Option<Arc<dyn Repeat>>;
}
