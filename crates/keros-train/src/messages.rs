//! What a run says to its user, kept for the program: where nothing is shown nobody else hears it.

use keros_callbacks::{Callback, EventSet, Message};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Messages that are kept; a callback may have something to say at every batch.
const MOST_MESSAGES: usize = 1000;

/// The newest messages of a run. Clones are of the same run.
#[derive(Clone, Default)]
pub(crate) struct Messages(Rc<RefCell<VecDeque<Message>>>);

impl Messages {
    pub(crate) fn read(&self) -> Vec<Message> {
        self.0.borrow().iter().cloned().collect()
    }
}

impl Callback for Messages {
    fn name(&self) -> &str {
        "trainer"
    }

    fn events(&self) -> EventSet {
        EventSet::NONE
    }

    fn on_message(&mut self, message: &Message) {
        let mut messages = self.0.borrow_mut();
        if messages.len() == MOST_MESSAGES {
            messages.pop_front();
        }
        messages.push_back(message.clone());
    }
}
