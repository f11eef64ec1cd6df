//! Stops a training when the validation loss leaves the training loss behind.
//!
//! ```json
//! { "ratio": 1.5 }
//! ```

use keros_plugin::{BoxError, Callback, CallbackResult, Context, Decision, EventKind, EventSet};

/// What a user chooses.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// How many times the loss the validation loss may be; 1.5 unless given.
    #[serde(default = "ratio")]
    ratio: f64,
}

fn ratio() -> f64 {
    1.5
}

struct Overfitting(Config);

impl Overfitting {
    fn new(config: Config) -> Result<Overfitting, BoxError> {
        if config.ratio.is_nan() || config.ratio < 1.0 {
            return Err(format!(
                "config field `ratio`: expected at least 1, found {}",
                config.ratio
            )
            .into());
        }
        Ok(Overfitting(config))
    }
}

impl Callback for Overfitting {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::EpochEnd])
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let logs = cx.logs()?;
        let (loss, val_loss) = (logs.number("loss"), logs.number("val_loss"));
        match loss.zip(val_loss) {
            Some((loss, val_loss)) if val_loss > loss * self.0.ratio => Ok(Decision::stop(
                format!("val_loss is {val_loss:.4}, loss only {loss:.4}"),
            )),
            _ => Ok(Decision::CONTINUE),
        }
    }
}

keros_plugin::export_plugin!(Overfitting::new, schema: Config);
