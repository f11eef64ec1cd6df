//! A keros callback plugin that shows the training in a local web page, while it runs.
//!
//! ```json
//! { "port": 0, "linger_s": 60, "checkpoint": "stopped.safetensors" }
//! ```
//!
//! Nothing is required. The page has live curves of the loss, the metrics, their validation and the
//! learning rate, per batch and per epoch; the progress with the time to go; who waits for whom, the
//! training for data or the data for the training; what callbacks say; a button that stops the
//! training as if a callback had, and one that saves a checkpoint if a file for it is configured.
//!
//! The address is told in a message when the training begins. It leads to this machine only: the
//! server listens on the loopback interface. From elsewhere, use a tunnel, such as
//! `ssh -L 8080:127.0.0.1:PORT`; the port may change on the way.
//!
//! **Who may look.** Whoever knows the address, for it holds a random token; without it every answer
//! is 403. So are requests in the name of another host than the loopback's, and actions that another
//! page than the dashboard's own asks for.
//!
//! **What it costs.** A look at a clock per batch, and every `interval_ms` the reading of the logs,
//! which waits for the device. The training never waits for a browser: a page gets what is newest
//! whenever it has taken what came before. Memory is bounded, however long the run: curves of many
//! points are thinned out.
//!
//! **The end.** When the training is over, open pages get its final state and keep showing it. The
//! server ends at once, or lives for `linger_s` seconds; then letting go of the callback waits for
//! them to pass, or for the button "Close".

mod board;
mod config;
mod curve;
mod http;
mod pace;
mod server;

pub use config::Config;

use board::{Batch, Board};
use keros_plugin::{
    BoxError, Callback, CallbackResult, Context, Decision, EventKind, EventSet, Level, Message,
};
use server::{Server, Shared};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

keros_plugin::export_plugin!(Dashboard::new, schema: Config);

/// Why the run is stopped, as others are told.
const STOPPED: &str = "stopped in the dashboard";

/// Shows the training in a local web page.
#[derive(Debug)]
pub struct Dashboard {
    config: Config,
    server: Option<Server>,
    /// Whether the board knows where the run began: one that goes on from a checkpoint is found to do so at
    /// its first event after the begin.
    caught_up: bool,
    /// Batches of this epoch that are done.
    done: u64,
    /// Samples of them that this run was trained on.
    samples: u64,
    /// When the logs were last read.
    read: Option<Instant>,
    /// When the server may go, known when the training is over.
    until: Option<Instant>,
}

impl Dashboard {
    /// A dashboard that opens when the training begins.
    ///
    /// # Errors
    /// When a value of the configuration is out of its range.
    pub fn new(config: Config) -> Result<Dashboard, BoxError> {
        config.check()?;
        Ok(Dashboard {
            config,
            server: None,
            caught_up: false,
            done: 0,
            samples: 0,
            read: None,
            until: None,
        })
    }

    /// The address of the page, while the server runs: from train begin on.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        self.server.as_ref().map(Server::url)
    }

    fn shared(&self) -> Result<&Arc<Shared>, BoxError> {
        match &self.server {
            Some(server) => Ok(server.shared()),
            None => Err("the training has not begun".into()),
        }
    }

    /// Shows what was before this run, if nobody has: earlier epochs, and `before` batches of this one.
    fn catch_up(&mut self, cx: &mut Context<'_>, before: u64) -> Result<(), BoxError> {
        if std::mem::replace(&mut self.caught_up, true) {
            return Ok(());
        }
        self.done = before;
        let epoch = cx.event().epoch;
        let history = cx.history().unwrap_or_default();
        self.shared()?.update(|board| {
            for earlier in &history {
                board.earlier_epoch(earlier.epoch, &earlier.logs);
            }
            board.go_on(epoch, before);
        });
        Ok(())
    }

    /// As [`catch_up`](Self::catch_up), where all batches of the epoch are done.
    fn catch_up_after_batches(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let steps = cx.info().steps.unwrap_or(0);
        self.catch_up(cx, steps)
    }

    /// What somebody asked for in the page.
    fn asked(&self, cx: &mut Context<'_>) -> CallbackResult {
        let shared = self.shared()?;
        if shared.take_stop() {
            cx.message(Level::Info, STOPPED);
            shared.update(|board| board.say(Level::Info, "dashboard", STOPPED, Instant::now()));
            return Ok(Decision::stop(STOPPED));
        }
        Ok(Decision::CONTINUE)
    }

    /// The final state is shown; the server ends, or lingers.
    fn end(&mut self, cx: &mut Context<'_>, failed: bool) -> CallbackResult {
        let now = Instant::now();
        let failure = failed.then(|| cx.detail().unwrap_or("the training failed").to_owned());
        self.shared()?.update(|board| {
            board.end(failure.is_some(), now);
            if let Some(text) = &failure {
                board.say(Level::Error, "training", text, now);
            }
        });
        if self.config.linger_s > 0.0 {
            self.until = Some(now + self.config.linger());
            let text = format!(
                "the dashboard stays for {} s, or until it is closed in the page",
                self.config.linger_s
            );
            cx.message(Level::Info, text);
        } else {
            self.server = None;
        }
        Ok(Decision::CONTINUE)
    }
}

impl Callback for Dashboard {
    /// That of the plugin, whether it is loaded or linked in.
    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::EpochBegin,
            EventKind::TrainBatchEnd,
            EventKind::TestBegin,
            EventKind::TestBatchEnd,
            EventKind::EpochEnd,
            EventKind::CheckpointSaved,
            EventKind::TrainEnd,
            EventKind::Error,
        ])
    }

    fn on_train_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.config.check_folder()?;
        let server = match self.server.take() {
            Some(server) => server,
            None => Server::start(&self.config)?,
        };
        let saver = match (cx.requests(), &self.config.checkpoint) {
            (Ok(requests), Some(path)) => Some((requests.clone(), path.clone())),
            _ => None,
        };
        let (info, can_save) = (cx.info().clone(), saver.is_some());
        let facts = cx.facts().ok();
        let facts = facts.and_then(|facts| serde_json::from_str(&facts).ok());
        let shared = server.shared();
        // What was asked for after the end of the last training is not for this one.
        shared.take_stop();
        server.forget_close();
        shared.set_saver(saver);
        shared.update(|board| {
            board.begin(info, facts.unwrap_or_default(), can_save, Instant::now());
        });
        cx.message(Level::Info, format!("the dashboard is at {}", server.url()));
        self.server = Some(server);
        self.caught_up = false;
        self.samples = 0;
        self.read = None;
        self.until = None;
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.catch_up(cx, 0)?;
        self.done = 0;
        self.samples = 0;
        let epoch = cx.event().epoch;
        self.shared()?
            .update(|board| board.begin_epoch(epoch, Instant::now()));
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let batch = cx.event().batch;
        self.catch_up(cx, batch)?;
        self.done = batch + 1;
        self.samples += cx.event().samples;
        let now = Instant::now();
        let shared = self.shared()?;
        if shared.board().is_save_overdue() {
            // The run has said why.
            shared.update(Board::saved);
        }
        if self
            .read
            .is_none_or(|read| now - read >= self.config.interval())
        {
            self.read = Some(now);
            let batch = Batch {
                epoch: cx.event().epoch,
                done: self.done,
                samples: self.samples,
                learning_rate: cx.learning_rate(),
                data_wait: cx.data_wait(),
                queue: cx.queue(),
            };
            let logs = cx.logs()?;
            self.shared()?.update(|board| board.batch(batch, logs, now));
        }
        self.asked(cx)
    }

    fn on_test_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if cx.event().nested {
            self.catch_up_after_batches(cx)?;
            self.shared()?.update(|board| board.validating(0));
        }
        Ok(Decision::CONTINUE)
    }

    fn on_test_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let now = Instant::now();
        if cx.event().nested
            && self
                .read
                .is_none_or(|read| now - read >= self.config.interval())
        {
            self.read = Some(now);
            let done = cx.event().batch + 1;
            self.shared()?.update(|board| board.validating(done));
        }
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.catch_up_after_batches(cx)?;
        let (epoch, rate) = (cx.event().epoch, cx.learning_rate());
        let (done, now) = (self.done, Instant::now());
        let logs = cx.logs()?;
        self.shared()?
            .update(|board| board.end_epoch(epoch, done, logs, rate, now));
        self.asked(cx)
    }

    fn on_checkpoint_saved(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let text = match cx.detail() {
            Some(path) => format!("saved the checkpoint {path}"),
            None => "saved a checkpoint".to_owned(),
        };
        let own = match (cx.detail(), &self.config.checkpoint) {
            (Some(saved), Some(own)) => Path::new(saved) == own,
            _ => true,
        };
        self.shared()?.update(|board| {
            if own {
                board.saved();
            }
            board.say(Level::Info, "training", &text, Instant::now());
        });
        Ok(Decision::CONTINUE)
    }

    fn on_train_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.catch_up_after_batches(cx)?;
        self.end(cx, false)
    }

    fn on_error(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        match self.server {
            Some(_) => self.end(cx, true),
            // It failed before it began.
            None => Ok(Decision::CONTINUE),
        }
    }

    fn on_message(&mut self, message: &Message) {
        // What the dashboard itself says, its page has already.
        if let Some(server) = &self.server
            && message.source != self.name()
        {
            server.shared().update(|board| {
                board.say(
                    message.level,
                    &message.source,
                    &message.text,
                    Instant::now(),
                );
            });
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        if let (Some(server), Some(until)) = (&self.server, self.until) {
            server.wait(until);
        }
    }
}
