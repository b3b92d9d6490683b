//! Questions that several ask at the same time, each of which is sent once for all of them.
//!
//! A question may be joined until it is sent, and no longer: so what is answered is how things were after each had asked.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::sync::Notify;

use super::{item_key::ItemKey, meta_protocol::Reply};

/// The question for one item, for one who asks it.
#[derive(Debug, Clone)]
pub(crate) struct Question(Arc<Answer>);

/// The same for the one who answers it: when that one is gone, there is no answer.
#[derive(Debug)]
pub(super) struct Asked(Arc<Answer>);

/// Those that have not been sent, by the hashes of the names that they ask for.
#[derive(Debug, Default)]
pub(super) struct Questions(HashMap<u64, (ItemKey, Question), foldhash::fast::RandomState>);

#[derive(Default)]
struct Answer {
    /// `None` if it will never come.
    reply: OnceLock<Option<Reply>>,
    came: Notify,
    made: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Question {
    /// Waits until there is an answer, or will never be.
    pub(super) async fn answered(&self) {
        // Who is notified is who is here already: so this comes before the look.
        let came = self.0.came.notified();
        if self.0.reply.get().is_none() {
            came.await;
        }
    }

    /// What was answered; `None` if nothing was yet, or the connection ended first.
    pub(crate) fn reply(&self) -> Option<&Reply> {
        self.0.reply.get()?.as_ref()
    }

    /// What another who asked has made of the answer.
    pub(crate) fn made<T: 'static>(&self) -> Option<&T> {
        self.0.made.get()?.downcast_ref()
    }

    /// Leaves what was made of the answer to the others, if there are any. Nobody waits for it: of several the first counts.
    pub(crate) fn leave<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) {
        if !self.is_alone() {
            let _ = self.0.made.set(Box::new(make()));
        }
    }

    /// Whether nobody else asks it, and it has been answered.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Asked {
    pub(super) fn answer(&self, reply: Reply) {
        self.0.come(Some(reply));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.come(None);
    }
}

impl Answer {
    /// The first answer stays.
    fn come(&self, reply: Option<Reply>) {
        if self.reply.set(reply).is_ok() {
            self.came.notify_waiters();
        }
    }
}

impl Questions {
    pub(super) fn get(&self, name: &ItemKey) -> Option<Question> {
        self.0.get(&name.hash()).filter(|(asked, _)| asked == name).map(|(_, question)| question.clone())
    }

    pub(super) fn add(&mut self, name: &ItemKey) -> (Question, Asked) {
        let answer = Arc::new(Answer::default());
        let question = Question(Arc::clone(&answer));
        self.0.insert(name.hash(), (name.clone(), question.clone()));
        (question, Asked(answer))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("reply", &self.reply).finish_non_exhaustive()
    }
}
