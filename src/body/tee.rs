//! A body that is read ahead of its client: one end is filled by whoever reads the body, the other is read by the client.

use std::{
    any::Any,
    collections::VecDeque,
    mem,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::budget::Held;

pub(crate) type Item<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

/// The two ends of a body with as much to come as `hint` says; `held` counts what was read ahead.
pub(crate) fn tee<B: Body>(hint: SizeHint, held: Held) -> (TeeWriter<B>, TeeReader<B>) {
    let state = State {
        unread: VecDeque::new(),
        stored: Bytes::new(),
        then: Then::More,
        delivered: 0,
        held,
        kept: true,
        client_left: false,
        reader: None,
        writer: None,
    };
    let tee = Arc::new(Mutex::new(state));
    (TeeWriter(Arc::clone(&tee)), TeeReader { tee, rest: None, ended: false, hint })
}

/// The end that is filled.
pub(crate) struct TeeWriter<B: Body>(Arc<Mutex<State<B>>>);

/// The client's end.
pub(crate) struct TeeReader<B: Body> {
    tee: Arc<Mutex<State<B>>>,
    rest: Option<Pin<Box<B>>>,
    ended: bool,
    /// How much is still to come.
    hint: SizeHint,
}

struct State<B: Body> {
    /// What was read ahead.
    unread: VecDeque<Result<Frame<Bytes>, B::Error>>,
    /// What the client has not read yet of a body that is stored.
    stored: Bytes,
    then: Then<B>,
    /// How many bytes the client has read.
    delivered: u64,
    held: Held,
    /// Whether what the client has read is held as well, to be stored.
    kept: bool,
    client_left: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What follows what was read ahead.
enum Then<B: Body> {
    More,
    End,
    /// From here on the client reads the body itself.
    Rest(Pin<Box<B>>),
    /// The body panicked, and its client is to know.
    Panicked(Box<dyn Any + Send>),
    /// Nobody reads the body any more. What has come of it must not look whole.
    Lost,
}

impl<B: Body> TeeWriter<B> {
    /// Whether the body may be read further ahead.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.0).held.may_grow()
    }

    /// Adds what was read; a client that has left is no reason to stop.
    pub(crate) fn push(&self, frame: Result<Frame<Bytes>, B::Error>) {
        self.change(|state| {
            state.held.grow(length(&frame));
            if !state.client_left {
                state.unread.push_back(frame);
            }
        });
    }

    /// The whole body is stored, and the client gets from `body` what it has not read yet.
    pub(crate) fn stored(&self, body: Bytes) {
        self.change(|state| {
            state.unread.clear();
            let delivered = usize::try_from(state.delivered).map_or(body.len(), |delivered| delivered.min(body.len()));
            state.held.shrink(u64::MAX);
            if !state.client_left {
                state.stored = body.slice(delivered..);
                state.held.grow(state.stored.len() as u64);
            }
            state.kept = false;
        });
    }

    /// The body has ended.
    pub(crate) fn end(&self) {
        self.then(Then::End);
    }

    /// What remains of the body is its client's own affair.
    pub(crate) fn pass(&self, rest: Pin<Box<B>>) {
        self.then(Then::Rest(rest));
    }

    pub(crate) fn panicked(&self, panic: Box<dyn Any + Send>) {
        self.then(Then::Panicked(panic));
    }

    /// Counts with `held` from here on.
    pub(crate) fn count_with(&self, mut held: Held) {
        let mut state = lock(&self.0);
        held.grow(state.held.bytes());
        state.held = held;
    }

    /// Ready when the client has left.
    pub(crate) fn poll_left(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.client_left {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn then(&self, then: Then<B>) {
        self.change(|state| {
            state.then = then;
            state.release_what_was_read();
        });
    }

    fn change(&self, change: impl FnOnce(&mut State<B>)) {
        let mut state = lock(&self.0);
        change(&mut state);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<B: Body> Drop for TeeWriter<B> {
    fn drop(&mut self) {
        self.change(|state| {
            if let Then::More = state.then {
                state.then = Then::Lost;
            }
            state.release_what_was_read();
        });
    }
}

impl<B: Body> State<B> {
    fn next(&mut self, cx: &Context<'_>) -> Poll<Result<Frame<Bytes>, B::Error>> {
        /// A client that takes little at once holds the rest on our account.
        const PIECE: usize = 64 << 10;
        if let Some(frame) = self.unread.pop_front() {
            self.deliver(length(&frame));
            return Poll::Ready(frame);
        }
        if !self.stored.is_empty() {
            let piece = self.stored.split_to(self.stored.len().min(PIECE));
            self.deliver(piece.len() as u64);
            return Poll::Ready(Ok(Frame::data(piece)));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn deliver(&mut self, bytes: u64) {
        self.delivered += bytes;
        if !self.kept {
            self.held.shrink(bytes);
        }
    }

    /// Nothing is kept to be stored any more.
    fn release_what_was_read(&mut self) {
        if mem::take(&mut self.kept) {
            self.held.shrink(if self.client_left { u64::MAX } else { self.delivered });
        }
    }
}

impl<B: Body> TeeReader<B> {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Item<B>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.rest.is_none() {
            let mut state = lock(&self.tee);
            if let Poll::Ready(frame) = state.next(cx) {
                drop(state);
                self.hint = less(&self.hint, frame.as_ref().ok());
                return Poll::Ready(Some(frame));
            }
            if let Then::More = state.then {
                return Poll::Pending;
            }
            let then = mem::replace(&mut state.then, Then::Lost);
            drop(state);
            match then {
                Then::End => {
                    self.hint = SizeHint::with_exact(0);
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Then::Rest(body) => self.rest = Some(body),
                Then::Panicked(panic) => resume_unwind(panic),
                Then::More | Then::Lost => panic!("a body could not be read to its end"),
            }
        }
        let Some(rest) = &mut self.rest else { return Poll::Pending };
        let item = ready!(rest.as_mut().poll_frame(cx));
        Poll::Ready(item.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.ended || self.rest.as_ref().is_some_and(Body::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or(self.hint, Body::size_hint)
    }
}

impl<B: Body> Drop for TeeReader<B> {
    fn drop(&mut self) {
        let mut state = lock(&self.tee);
        state.client_left = true;
        let unread = mem::take(&mut state.unread);
        let stored = mem::take(&mut state.stored);
        if !state.kept {
            state.held.shrink(u64::MAX);
        }
        let then = mem::replace(&mut state.then, Then::Lost);
        let writer = state.writer.take();
        drop(state);
        // Bodies and frames are others' code: without the lock.
        drop((unread, stored, then));
        writer.into_iter().for_each(Waker::wake);
    }
}

/// What remains when a frame has gone.
fn less(hint: &SizeHint, frame: Option<&Frame<Bytes>>) -> SizeHint {
    let gone = frame.and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
    let mut less = SizeHint::new();
    less.set_lower(hint.lower().saturating_sub(gone));
    if let Some(upper) = hint.upper() {
        less.set_upper(upper.saturating_sub(gone));
    }
    less
}

fn length<E>(frame: &Result<Frame<Bytes>, E>) -> u64 {
    frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64)
}

pub(crate) fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

/// No code of others runs under it, but for what drops a frame.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
