//! A plugin that panics where it is told to: for tests, of what the SDK makes of a panic.
#![allow(clippy::panic, reason = "what this plugin is for")]

use keros_plugin::{BoxError, Callback, CallbackResult, Context, Decision, EventKind, EventSet};

/// Where it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the constructor.
    Create,
    /// At the end of a train batch.
    Event,
    /// When it tells its state.
    SaveState,
    /// When it goes on from a state.
    LoadState,
    /// When it is dropped.
    Drop,
}

/// What a user may choose.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it panics.
    pub panic_in: Place,
}

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving(Place);

impl Misbehaving {
    /// A plugin that panics later, or now.
    ///
    /// # Errors
    /// None.
    ///
    /// # Panics
    /// If that is the place.
    pub fn new(config: Config) -> Result<Misbehaving, BoxError> {
        let plugin = Misbehaving(config.panic_in);
        plugin.at(Place::Create);
        Ok(plugin)
    }

    fn at(&self, place: Place) {
        if self.0 == place {
            panic!("as it was told to");
        }
    }
}

impl Callback for Misbehaving {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBatchEnd])
    }

    fn on_train_batch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.at(Place::Event);
        Ok(Decision::CONTINUE)
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        self.at(Place::SaveState);
        Ok(Some(b"nothing".to_vec()))
    }

    fn load_state(&mut self, _: &[u8]) -> Result<(), BoxError> {
        self.at(Place::LoadState);
        Ok(())
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        self.at(Place::Drop);
    }
}

keros_plugin::export_plugin!(Misbehaving::new);
