//! A body with two ends: a fetch reads the body and fills one end, and the client reads the other, possibly later.

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

use super::budget::HeldBytes;

pub(crate) type FrameResult<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

/// Creates the two ends of a body of the size `hint`; `held` counts the bytes that are buffered.
pub(crate) fn tee<B: Body>(hint: SizeHint, held: HeldBytes) -> (TeeWriter<B>, TeeReader<B>) {
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

/// The end that the fetch fills.
pub(crate) struct TeeWriter<B: Body>(Arc<Mutex<State<B>>>);

/// The end that the client reads.
pub(crate) struct TeeReader<B: Body> {
    tee: Arc<Mutex<State<B>>>,
    rest: Option<Pin<Box<B>>>,
    ended: bool,
    /// The size of the rest.
    hint: SizeHint,
}

struct State<B: Body> {
    /// Frames that the client has not read yet.
    unread: VecDeque<Result<Frame<Bytes>, B::Error>>,
    /// The rest of a stored body, which the client has not read yet.
    stored: Bytes,
    then: Then<B>,
    /// How many bytes the client has read.
    delivered: u64,
    held: HeldBytes,
    /// Whether bytes that the client has read are still held, to be stored.
    kept: bool,
    client_left: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What follows the frames that were read ahead.
enum Then<B: Body> {
    More,
    End,
    /// The client reads the rest from the body itself.
    Rest(Pin<Box<B>>),
    /// The body panicked. The panic continues in the task of the client.
    Panicked(Box<dyn Any + Send>),
    /// The writer is gone before the end of the body: the client must not take the frames for a complete body.
    Lost,
}

impl<B: Body> TeeWriter<B> {
    /// Returns whether the fetch may read further ahead.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.0).held.may_grow()
    }

    /// Adds a frame. If the client has left, the frame is dropped, but its bytes still count: they are being stored.
    pub(crate) fn push(&self, frame: Result<Frame<Bytes>, B::Error>) {
        self.change(|state| {
            state.held.grow(length(&frame));
            if !state.client_left {
                state.unread.push_back(frame);
            }
        });
    }

    /// Replaces the frames by the stored `body`, from which the client reads the rest.
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

    /// Marks the end of the body.
    pub(crate) fn end(&self) {
        self.then(Then::End);
    }

    /// Leaves the rest of the body to the client, which then reads it directly.
    pub(crate) fn forward_rest(&self, rest: Pin<Box<B>>) {
        self.then(Then::Rest(rest));
    }

    /// Passes a panic of the body on to the client.
    pub(crate) fn panicked(&self, panic: Box<dyn Any + Send>) {
        self.then(Then::Panicked(panic));
    }

    /// Counts the buffered bytes with `held` from now on.
    pub(crate) fn count_with(&self, mut held: HeldBytes) {
        let mut state = lock(&self.0);
        held.grow(state.held.bytes());
        state.held = held;
    }

    /// Completes when the client has left.
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
        /// A client that reads slowly keeps the rest in memory, so it gets small parts and the count shrinks as it reads.
        const MAX_FRAME: usize = 64 << 10;
        if let Some(frame) = self.unread.pop_front() {
            self.deliver(length(&frame));
            return Poll::Ready(frame);
        }
        if !self.stored.is_empty() {
            let part = self.stored.split_to(self.stored.len().min(MAX_FRAME));
            self.deliver(part.len() as u64);
            return Poll::Ready(Ok(Frame::data(part)));
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

    /// Stops counting the bytes that the client has read: they will not be stored.
    fn release_what_was_read(&mut self) {
        if mem::take(&mut self.kept) {
            self.held.shrink(if self.client_left { u64::MAX } else { self.delivered });
        }
    }
}

impl<B: Body> TeeReader<B> {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<FrameResult<B>> {
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
        let frame = ready!(rest.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
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
        // The drop code of bodies and frames is foreign code: run it without the lock.
        drop((unread, stored, then));
        writer.into_iter().for_each(Waker::wake);
    }
}

/// Returns the size hint after a frame.
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

/// No foreign code runs while the lock is held, except drop code of frames.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
