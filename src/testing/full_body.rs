//! A body that is all there.

use std::{
    convert::Infallible,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

/// A body that is there at once, as the requests of the test kits have it.
#[derive(Debug, Clone, Default)]
pub struct WholeBody(Bytes);

impl<T: Into<Bytes>> From<T> for WholeBody {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Body for WholeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = mem::take(&mut self.0);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Reads a body to its end; `None` if it has none.
pub(crate) async fn collect(body: impl Body) -> Option<Bytes> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(mut data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
    }
    Some(bytes.into())
}
