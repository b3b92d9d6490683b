//! What one run of the handler has, and the plan by which its response is stored.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header::VARY};

use super::{collapse::Role, context::FetchContext};
use crate::{
    dependencies::Dependencies,
    http::stored_fields::StoredFields,
    lookup::{reuse::Miss, store::EntryTarget},
    policy::freshness::Freshness,
    stats::fill::Fill,
};

/// One run of the handler for a request that the cache could not answer; boxed because several futures move it.
pub(crate) struct HandlerRun {
    pub(crate) context: Arc<FetchContext>,
    pub(crate) miss: Miss,
    pub(crate) role: Role,
    /// Counts this run when its body has ended.
    pub(crate) fill: Fill,
    /// The tags and values of which the handler makes its response.
    pub(super) dependencies: Arc<Dependencies>,
}

impl HandlerRun {
    pub(crate) fn new(context: Arc<FetchContext>, miss: Miss, role: Role, fill: Fill) -> Box<Self> {
        let dependencies = Dependencies::of_handler(context.cache.store_address(), context.prepared.clone());
        Box::new(Self { context, miss, role, fill, dependencies })
    }
}

/// Where and for how long a response is stored; boxed because several futures move it.
pub(crate) struct StoragePlan {
    pub(crate) target: EntryTarget,
    pub(crate) freshness: Freshness,
    /// A line that the response's `Vary` lacks.
    pub(super) missing_in_vary: Option<HeaderValue>,
    pub(crate) status: StatusCode,
    /// The fields that are stored; none before `Vary` is complete.
    pub(crate) headers: StoredFields,
}

impl StoragePlan {
    /// Names the fields that select the response in its `Vary`, for caches in front of larder.
    pub(super) fn complete_vary(&self, headers: &mut HeaderMap) {
        if let Some(fields) = &self.missing_in_vary {
            headers.append(VARY, fields.clone());
        }
    }
}
