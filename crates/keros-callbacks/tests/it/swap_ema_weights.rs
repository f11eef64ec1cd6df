//! When the averages stand in for the weights.

use crate::support::FakeRun;
use keros_callbacks::{CallbackList, EventKind, SwapEmaWeights};

/// Whether the averages are in the model after each of these events.
fn swapped(callback: SwapEmaWeights, events: &[EventKind]) -> Vec<bool> {
    let mut list = CallbackList::new().with(callback);
    let mut run = FakeRun::default();
    let mut after = |kind: &EventKind| {
        run.send(&mut list, *kind, 0, 0);
        run.swaps % 2 == 1
    };
    events.iter().map(&mut after).collect()
}

#[test]
fn averages_are_evaluated_and_put_back() {
    use EventKind::{EpochBegin, EpochEnd, PredictBegin, PredictEnd, TestBegin, TestEnd};
    let events = [TestBegin, TestEnd, PredictBegin, PredictEnd];
    let expected = [true, false, true, false];
    assert_eq!(swapped(SwapEmaWeights::new(), &events), expected);
    let epoch = [EpochBegin, TestBegin, TestEnd, EpochEnd, EpochBegin];
    assert_eq!(
        swapped(SwapEmaWeights::new(), &epoch),
        [false, true, false, false, false]
    );
    assert_eq!(
        swapped(SwapEmaWeights::new().swap_on_epoch(true), &epoch),
        [false, true, false, true, false]
    );
}

#[test]
fn an_error_leaves_the_weights_in_the_model() {
    let events = [EventKind::TestBegin, EventKind::Error];
    assert_eq!(swapped(SwapEmaWeights::new(), &events), [true, false]);
}

#[test]
fn a_training_that_was_left_between_its_epochs_is_over_at_the_next_evaluation() {
    use EventKind::{EpochBegin, EpochEnd, PredictBegin, PredictEnd, TestBegin, TestEnd};
    for (begin, end) in [(TestBegin, TestEnd), (PredictBegin, PredictEnd)] {
        let swap = SwapEmaWeights::new().swap_on_epoch(true);
        let mut list = CallbackList::new().with(swap);
        let mut run = FakeRun::default();
        run.send(&mut list, EpochBegin, 0, 0);
        run.send(&mut list, EpochEnd, 0, 0);
        assert_eq!(run.swaps, 1);
        // Whoever evaluates has put the weights back.
        run.swaps = 0;
        run.send(&mut list, begin, 0, 0);
        assert_eq!(run.swaps, 1);
        run.send(&mut list, end, 0, 0);
        assert_eq!(run.swaps, 2);
    }
}
