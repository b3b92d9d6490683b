//! A revision that is filled while another one is in use.

use std::{error::Error as StdError, fmt, sync::Arc};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::builder::Warm;
use crate::{
    cache::Cache,
    key::revision::{NextRevision, Revision},
};

/// A revision that is prepared, made by [`Cache::prepare_revision`]. Dropped, it changes nothing.
#[must_use = "a prepared revision is used only when it is activated"]
pub struct PreparedRevision {
    cache: Cache,
    revision: NextRevision,
}

impl Cache {
    /// Prepares another revision while this one is in use: it can be warmed, and [`activate`](PreparedRevision::activate) switches to it.
    ///
    /// Use it when the application has changed what its pages look like without a restart: new templates, a configuration or a data set
    /// has been loaded. The pages of the old revision are served until the new ones are there. A process that restarts needs it not:
    /// it begins with [`with_revision`](Self::with_revision), and is [warmed](Self::warm) before it serves.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// # let app = axum::Router::new();
    /// let prepared = cache.prepare_revision("v2");
    /// prepared.warm(app.clone()).host("example.com").paths(["/", "/posts"]).start().await;
    /// prepared.activate();
    /// # }
    /// ```
    pub fn prepare_revision(&self, revision: &str) -> PreparedRevision {
        let present = Arc::clone(&self.inner.prefix.current().revision);
        PreparedRevision { cache: self.clone(), revision: NextRevision { present, next: Revision::new(revision) } }
    }
}

impl PreparedRevision {
    /// Begins to describe a warm-up as [`Cache::warm`] does, whose responses are stored under the prepared revision. Clients do not find
    /// them before it is activated.
    ///
    /// Layers whose handle has a revision of its own ([`Cache::with_revision`]) are not switched, and are warmed as they are.
    pub fn warm<S, ResBody>(&self, app: S) -> Warm
    where
        S: Service<Request<String>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        ResBody: Body<Data: Send> + Send + 'static,
        ResBody::Error: Send,
    {
        self.cache.warm(app).for_revision(self.revision.clone())
    }

    /// Switches this process to the prepared revision: the handle that it was prepared from, all handles and layers that were made from one
    /// another without [`Cache::with_revision`], and those made from them later.
    ///
    /// It is one store to memory: a request that begins after the call finds only responses of the new revision, and one under way stores under
    /// the old. Invalidations concern both. Entries of the old revision are not removed; they expire, or are evicted as the least used.
    ///
    /// Other nodes, and this process after a restart, keep the revision with which they were built: activate it on each of them. A hit
    /// costs some nanoseconds more in a process that has activated a revision, and some more with each further one.
    pub fn activate(self) {
        self.revision.present.replace_by(&self.revision.next);
        self.cache.inner.mode.note_activation();
        tracing::info!(revision = &*self.revision.next.name, "the cache has switched to another revision");
    }
}

impl fmt::Debug for PreparedRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedRevision").field("revision", &self.revision.next.name).finish_non_exhaustive()
    }
}
