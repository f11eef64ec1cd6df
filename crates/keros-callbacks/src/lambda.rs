//! A callback made of closures, as Keras's `LambdaCallback`.

use crate::callback::{Callback, CallbackResult};
use crate::context::Context;
use crate::decision::Decision;
use crate::event::{EventKind, EventSet};

type Hook<'a> = Box<dyn FnMut(&mut Context<'_>) -> CallbackResult + 'a>;

/// Calls a closure at each event that has one.
///
/// ```
/// use keros_callbacks::{EventKind, LambdaCallback};
///
/// let mut epochs = 0;
/// let counter = LambdaCallback::new().on(EventKind::EpochEnd, |_| {
///     epochs += 1;
///     Ok(Default::default())
/// });
/// ```
#[derive(Default)]
pub struct LambdaCallback<'a> {
    hooks: Vec<(EventKind, Hook<'a>)>,
}

impl<'a> LambdaCallback<'a> {
    /// No closures yet.
    #[must_use]
    pub fn new() -> LambdaCallback<'a> {
        LambdaCallback::default()
    }

    /// Calls `hook` at events of this kind; several closures of one kind run in order.
    #[must_use]
    pub fn on(
        mut self,
        kind: EventKind,
        hook: impl FnMut(&mut Context<'_>) -> CallbackResult + 'a,
    ) -> LambdaCallback<'a> {
        self.hooks.push((kind, Box::new(hook)));
        self
    }
}

impl Callback for LambdaCallback<'_> {
    fn events(&self) -> EventSet {
        self.hooks.iter().fold(EventSet::NONE, |set, (kind, _)| {
            set.union(EventSet::of(&[*kind]))
        })
    }

    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let kind = cx.event().kind;
        let mut merged = Decision::CONTINUE;
        for (_, hook) in self.hooks.iter_mut().filter(|(wanted, _)| *wanted == kind) {
            merged.merge(hook(cx)?);
        }
        Ok(merged)
    }
}
