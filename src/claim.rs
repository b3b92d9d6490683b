use std::time::Duration;

use http::Response;
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use crate::{
    backend::contract::Claim,
    body::ResponseBody,
    cache::{Cache, flights::Landing},
    entry::epoch::Epoch,
    inquiry::Inquiry,
    key::Key,
    lookup::reuse::Missing,
};

/// The claim to be the only node that fetches for a key; given back when the fetch is over.
#[derive(Debug)]
pub(crate) struct Claimed {
    cache: Cache,
    key: Box<Key>,
}

/// Between two looks at what another node may have stored.
const PAUSE: Duration = Duration::from_millis(20);

impl Inquiry {
    /// Waits until another node's fetch has brought the answer, or until this node may fetch: because nobody else does, the other took
    /// too long, or the store does not tell. Advisory: what is right does not depend on it.
    pub(crate) async fn wait_for_nodes<B: Body>(
        &self,
        life: Duration,
        missing: &mut Missing,
        epoch: &mut Epoch,
        deadline: Instant,
    ) -> Result<Response<ResponseBody<B>>, Option<Claimed>> {
        loop {
            let key = missing.key(&self.look).clone();
            let claim = match self.cache.inner.backend.claim(&key, life).await {
                Ok(Claim::Granted) => Some(Claimed { cache: self.cache.clone(), key: Box::new(key) }),
                Ok(Claim::Taken) if Instant::now() + PAUSE < deadline => {
                    sleep(PAUSE).await;
                    None
                }
                Ok(Claim::Taken) | Err(_) => return Err(None),
            };
            // Also with the claim: whoever had it may have stored the answer, and given it back, since this node looked last.
            match self.answer_after(Landing::Stored, missing, epoch).await {
                Ok(Some(response)) => return Ok(response),
                Ok(None) if claim.is_some() => return Err(claim),
                Ok(None) => {}
                Err(_) => return Err(None),
            }
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // A claim that is not given back ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let (cache, key) = (self.cache.clone(), self.key.clone());
        runtime.spawn(async move { cache.inner.backend.release(&key).await });
    }
}
