//! A callback, and a loop that is no keros trainer and calls it all the same.

use std::time::Duration;

use keros_callbacks::{
    BoxError, Callback, CallbackError, CallbackList, CallbackResult, Context, Decision, Event,
    EventKind, EventSet, LambdaCallback, Level, Logs, Run, RunInfo,
};

/// Halves the learning rate when the loss of an epoch is higher than that of the one before.
#[derive(Default)]
struct HalveOnRise {
    last: Option<f64>,
}

impl Callback for HalveOnRise {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::EpochEnd])
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let loss = cx
            .logs()?
            .number("loss")
            .ok_or("expected a log `loss`, found none")?;
        let rose = self.last.replace(loss).is_some_and(|last| loss > last);
        match cx.learning_rate() {
            Some(rate) if rose => {
                cx.message(
                    Level::Info,
                    format!("the loss rose: the learning rate is {} now", rate / 2.0),
                );
                Ok(Decision::set_learning_rate(rate / 2.0))
            }
            _ => Ok(Decision::CONTINUE),
        }
    }
}

/// What callbacks see of the loop below.
struct Descent {
    info: RunInfo,
    logs: Logs,
    rate: f64,
}

impl Run for Descent {
    fn info(&self) -> &RunInfo {
        &self.info
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }
    fn learning_rate(&self) -> Option<f64> {
        Some(self.rate)
    }
    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
}

/// Goes down w² from w = 1, and tells the loss at the end.
fn descend(rate: f64, epochs: u64, callbacks: &mut CallbackList<'_>) -> Result<f64, CallbackError> {
    let info = RunInfo {
        epochs,
        metrics: vec!["loss".to_owned()],
        ..RunInfo::default()
    };
    let mut run = Descent {
        info,
        logs: Logs::new(),
        rate,
    };
    let mut w: f64 = 1.0;
    for epoch in 0..epochs {
        w -= run.rate * 2.0 * w;
        run.logs.set("loss", w * w);
        let event = Event {
            kind: EventKind::EpochEnd,
            epoch,
            batch: 0,
            step: epoch + 1,
            samples: 0,
            nested: false,
        };
        let decision = callbacks.dispatch(&event, &mut run)?;
        run.rate = decision.learning_rate.unwrap_or(run.rate);
        if decision.stop.is_some() {
            break;
        }
    }
    Ok(w * w)
}

fn main() -> Result<(), CallbackError> {
    let show = LambdaCallback::new().on(EventKind::EpochEnd, |cx| {
        let (epoch, rate) = (cx.event().epoch + 1, cx.learning_rate());
        println!(
            "epoch {epoch}: loss {:?}, learning rate {rate:?}",
            cx.logs()?.number("loss")
        );
        Ok(Decision::CONTINUE)
    });
    let mut callbacks = CallbackList::new().with(show).with(HalveOnRise::default());
    descend(1.1, 8, &mut callbacks)?;
    Ok(())
}

#[test]
fn the_loss_falls_with_the_callback_only() {
    let alone = descend(1.1, 8, &mut CallbackList::new()).unwrap();
    let helped = descend(
        1.1,
        8,
        &mut CallbackList::new().with(HalveOnRise::default()),
    )
    .unwrap();
    assert!(alone > 1.0 && helped < 1e-6, "{alone}, {helped}");
}
