//! The functions of the host's extensions, a module for each table of keros.h.
#![allow(
    non_camel_case_types,
    reason = "the modules have the names of the tables in keros.h"
)]

use super::*;

/// Functions that are called inside an event, `fn name(loans, cx, arguments…) { status or error }`: their first
/// argument is the run, and the body has the loans and the context of its event.
macro_rules! in_event {
    ($(fn $name:ident($loans:pat, $cx:pat $(, $argument:ident: $type:ty)*) $body:block)*) => {$(
        pub(crate) unsafe extern "C" fn $name(
            run: *const keros_run
            $(, $argument: $type)*
        ) -> keros_status {
            // SAFETY: keros.h asks for the host's run, for readable texts and tensors, and for room for an answer or a
            // struct of the size it tells.
            unsafe { lending(run, |$loans, $cx| $body) }
        }
    )*};
}

pub(super) mod keros_thread_check {
    use super::*;

    pub(crate) unsafe extern "C" fn in_event(host: *const keros_host) -> i32 {
        // SAFETY: keros.h asks for the host of a living instance.
        let bridge = unsafe { of_host(host) };
        bridge.is_some_and(Bridge::is_in_event).into()
    }
}

pub(super) mod keros_facts {
    use super::*;

    in_event! {
        fn facts(loans, cx, out: *mut keros_str) {
            loans.facts = cx.facts()?;
            answer(out, keros_str::new(&loans.facts))
        }

        fn detail(_, cx, out: *mut keros_str) {
            match cx.detail() {
                Some(detail) => answer(out, keros_str::new(detail)),
                None => Ok(KEROS_E_NOT_FOUND),
            }
        }

        fn error(loans, _, out: *mut keros_str) {
            match &loans.error {
                Some(error) => answer(out, keros_str::new(error)),
                None => Ok(KEROS_E_NOT_FOUND),
            }
        }
    }
}

pub(super) mod keros_history {
    use super::*;

    fn rows<'l>(
        loans: &'l mut Loans,
        cx: &mut Context<'_>,
    ) -> Result<&'l mut Vec<EpochLogs>, BoxError> {
        let rows = match loans.history.take() {
            Some(rows) => rows,
            None => cx.history()?,
        };
        Ok(loans.history.insert(rows))
    }

    in_event! {
        fn count(loans, cx, out: *mut u64) {
            answer(out, rows(loans, cx)?.len() as u64)
        }

        fn row(loans, cx, index: u64, epoch: *mut u64, logs: *mut keros_logs) {
            let mut items = std::mem::take(&mut loans.history_items);
            items.clear();
            let status = match rows(loans, cx)?.get(place(index)) {
                None => KEROS_E_ARG,
                Some(row) => {
                    for (key, value) in row.logs.iter() {
                        items.extend(told(value).map(|value| keros_log {
                            key: keros_str::new(key),
                            value,
                        }));
                    }
                    match (epoch.as_mut(), put(logs, &items)) {
                        (Some(epoch), true) => {
                            *epoch = row.epoch;
                            KEROS_OK
                        }
                        _ => KEROS_E_ARG,
                    }
                }
            };
            loans.history_items = items;
            Ok(status)
        }
    }
}

pub(super) mod keros_optimizer {
    use super::*;

    in_event! {
        fn numbers(loans, cx, out: *mut keros_logs) {
            loans.numbers = cx.optimizer_numbers();
            loans.number_items.clear();
            for (name, value) in &loans.numbers {
                let value = told(&LogValue::Float(*value));
                loans.number_items.extend(value.map(|value| keros_log {
                    key: keros_str::new(name),
                    value,
                }));
            }
            match put(out, &loans.number_items) {
                true => Ok(KEROS_OK),
                false => Ok(KEROS_E_ARG),
            }
        }

        fn set_number(_, cx, name: keros_str, value: f64) {
            match text(name) {
                None => Ok(KEROS_E_ARG),
                Some(name) => cx.set_optimizer_number(name, value).map(|()| KEROS_OK),
            }
        }

        fn is_scheduled(_, cx, out: *mut i32) {
            answer(out, cx.is_scheduled().into())
        }

        fn swap_averages(_, cx) {
            cx.swap_averages().map(|()| KEROS_OK)
        }
    }
}

pub(super) mod keros_parameters {
    use super::*;

    in_event! {
        fn count(_, cx, out: *mut u64) {
            answer(out, cx.params().len() as u64)
        }

        fn describe(loans, cx, index: u64, out: *mut keros_array) {
            let Some(param) = cx.params().get(place(index)) else {
                return Ok(KEROS_E_ARG);
            };
            let loan = loans.array(Of::Description, index);
            loan.describe(&param.shape);
            param.name.clone_into(&mut loan.name);
            let flags = if param.trainable {
                KEROS_ARRAY_TRAINABLE
            } else {
                0
            };
            describe_array(out, loan, flags)
        }

        fn value(loans, cx, index: u64, out: *mut keros_tensor) {
            let Some(param) = cx.params().get(place(index)) else {
                return Ok(KEROS_E_ARG);
            };
            let loan = loans.array(Of::Value, index);
            loan.describe(&param.shape);
            cx.read_param(place(index), &mut loan.values)?;
            answer(out, loan.tensor())
        }

        fn gradient(loans, cx, index: u64, out: *mut keros_tensor) {
            let Some(param) = cx.params().get(place(index)) else {
                return Ok(KEROS_E_ARG);
            };
            let loan = loans.array(Of::Gradient, index);
            loan.describe(&param.shape);
            cx.read_gradient(place(index), &mut loan.values)?;
            answer(out, loan.tensor())
        }

        fn assign(_, cx, index: u64, tensor: *const keros_tensor) {
            let shape = cx.params().get(place(index)).map(|param| param.shape.as_slice());
            let Some(values) = shape.and_then(|shape| values(tensor, shape)) else {
                return Ok(KEROS_E_ARG);
            };
            cx.write_param(place(index), values).map(|()| KEROS_OK)
        }
    }
}

pub(super) mod keros_inputs {
    use super::*;

    in_event! {
        fn count(_, cx, out: *mut u64) {
            answer(out, cx.inputs().len() as u64)
        }

        fn describe(loans, cx, index: u64, out: *mut keros_array) {
            let inputs = cx.inputs();
            let Some(input) = inputs.get(place(index)) else {
                return Ok(KEROS_E_ARG);
            };
            let loan = loans.array(Of::InputDescription, index);
            loan.describe(&input.shape);
            input.name.clone_into(&mut loan.name);
            describe_array(out, loan, 0)
        }

        fn value(loans, cx, index: u64, out: *mut keros_tensor) {
            let inputs = cx.inputs();
            let Some(input) = inputs.get(place(index)) else {
                return Ok(KEROS_E_ARG);
            };
            let loan = loans.array(Of::Input, index);
            loan.describe(&input.shape);
            cx.read_input(place(index), &mut loan.values)?;
            answer(out, loan.tensor())
        }
    }
}

pub(super) mod keros_checkpoint {
    use super::*;

    in_event! {
        fn save_weights(_, cx, view: keros_str) {
            with_path(view, |path| cx.save_weights(path))
        }

        fn load_weights(_, cx, view: keros_str) {
            with_path(view, |path| cx.load_weights(path))
        }

        fn save_model(_, cx, view: keros_str) {
            with_path(view, |path| cx.save_model(path))
        }

        fn write(loans, _, view: keros_str) {
            with_path(view, |path| {
                loans.checkpoints.push(path.to_owned());
                Ok(())
            })
        }

        fn resume(loans, _, view: keros_str) {
            with_path(view, |path| {
                loans.resume.get_or_insert_with(|| path.to_owned());
                Ok(())
            })
        }
    }
}

pub(super) mod keros_queue {
    use super::*;

    in_event! {
        fn stats(_, cx, out: *mut keros_queue_stats) {
            let out = match out.as_mut() {
                Some(out) if out.struct_size as usize >= size_of::<keros_queue_stats>() => out,
                _ => return Ok(KEROS_E_ARG),
            };
            let Some(queue) = cx.queue() else {
                return Ok(KEROS_E_NOT_FOUND);
            };
            let nanoseconds =
                |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            out.reserved = 0;
            out.ready = queue.ready;
            out.capacity = queue.capacity;
            out.delivered = queue.delivered;
            out.consumer_wait_ns = nanoseconds(queue.consumer_wait);
            out.producer_wait_ns = nanoseconds(queue.producer_wait);
            Ok(KEROS_OK)
        }
    }
}

pub(super) mod keros_requests {
    use super::*;

    pub(crate) unsafe extern "C" fn stop(
        host: *const keros_host,
        reason: keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host of a living instance and a readable text.
        unsafe {
            match text(reason) {
                None => KEROS_E_ARG,
                Some(reason) => request(host, |requests| requests.stop(reason)),
            }
        }
    }

    pub(crate) unsafe extern "C" fn save(host: *const keros_host, view: keros_str) -> keros_status {
        // SAFETY: keros.h asks for the host of a living instance and a readable path.
        unsafe {
            match path(view) {
                None => KEROS_E_ARG,
                Some(path) => request(host, |requests| requests.save(path)),
            }
        }
    }
}
